//! `switchback import`.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;

use crate::import::{Address, Bucket, Folder, Import, Keys, Locking, Remote, Source, Versioning};
use crate::output::Format;
use crate::view::import::{ImportView, LocksView, noun};

const AFTER_HELP: &str = "\
Repeat the command to go on with what broke off or failed, and later to bring what has changed since: the journal
knows what was brought. An object that the bucket's own clients wrote, changed or deleted is left as it is and named,
unless --overwrite is given. Exit code 1: something failed; each object is named with its reason.

Retentions and legal holds are brought where the source has object lock, and the bucket must have it too. They are only
made stronger: what is shortened or lifted at the source stays in the bucket.

With --versions, the journal tells which version of the source is which in the bucket. A version that fails holds back
those of its key that are newer; --skip-unreadable goes on without one that the source does not give. --delete deletes
versions for good.

  switchback import s3://photos --source-endpoint https://old.example.com photos --endpoint https://acme.east.example.com
  switchback import /srv/photos photos --endpoint https://acme.east.example.com --delete";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// A folder, or `s3://BUCKET/PREFIX`; a prefix may be left out.
    source: String,
    /// The bucket of the tenant; it must be there.
    bucket: String,
    /// The tenant's S3 endpoint.
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// The access key of a credential of the tenant.
    #[arg(long, env = "SWITCHBACK_ACCESS_KEY", value_name = "KEY")]
    access_key: String,
    /// Its secret key; from the environment it leaves no trace in the process list.
    #[arg(long, env = "SWITCHBACK_SECRET_KEY", hide_env_values = true, value_name = "KEY")]
    secret_key: String,
    /// The region that the tenant's clients sign for.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Put this before every key.
    #[arg(long, default_value = "")]
    prefix: String,
    /// The source's S3 endpoint; AWS's own of the region when it is left out.
    #[arg(long, value_name = "URL")]
    source_endpoint: Option<String>,
    /// The region that the source's clients sign for.
    #[arg(long, default_value = "us-east-1", value_name = "REGION")]
    source_region: String,
    /// The source's access key; without one, requests are not signed, as a public bucket wants it.
    #[arg(long, env = "SWITCHBACK_SOURCE_ACCESS_KEY", requires = "source_secret_key", value_name = "KEY")]
    source_access_key: Option<String>,
    /// Its secret key.
    #[arg(
        long,
        env = "SWITCHBACK_SOURCE_SECRET_KEY",
        hide_env_values = true,
        requires = "source_access_key",
        value_name = "KEY"
    )]
    source_secret_key: Option<String>,
    /// Of keys that are lent for a time.
    #[arg(long, env = "SWITCHBACK_SOURCE_SESSION_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    source_session_token: Option<String>,
    /// Where it is kept what was brought; `BUCKET.import` here when it is left out.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Bring all versions and delete markers of each key in their order, into a bucket whose versioning is on; their
    /// ids and times are new.
    #[arg(long)]
    versions: bool,
    /// With --versions: go on without versions that the source lists and does not give. They stay out: newer ones take
    /// their place. Each report tells of them.
    #[arg(long, requires = "versions")]
    skip_unreadable: bool,
    /// Leave retentions and legal holds behind; a later run without this brings them.
    #[arg(long)]
    without_locks: bool,
    /// Objects at once; with --versions, keys.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024), value_name = "NUMBER")]
    parallel: u16,
    /// Memory for what is in flight, in MiB.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..=1_048_576), value_name = "MIB")]
    memory: u32,
    /// Also replace objects that were not brought by this import, or were changed since.
    #[arg(long)]
    overwrite: bool,
    /// Delete what was brought and is gone from the source.
    #[arg(long)]
    delete: bool,
    /// Bring nothing; count what would be.
    #[arg(long)]
    plan: bool,
}

pub(crate) async fn run(arguments: Arguments, format: Format) -> anyhow::Result<()> {
    let found = source(&arguments).await?;
    let keys =
        Keys { access_key: arguments.access_key, secret_key: arguments.secret_key, session_token: None };
    let target = Bucket::new(Address {
        endpoint: arguments.endpoint.clone(),
        region: arguments.region,
        bucket: arguments.bucket.clone(),
        keys: Some(keys),
    })?;
    target
        .exists()
        .await
        .with_context(|| format!("find bucket {} at {}", arguments.bucket, arguments.endpoint))?;
    if arguments.versions {
        check_versioning(&target, &arguments.bucket, &arguments.endpoint).await?;
    }
    let locks = match &found.origin {
        None => LocksView::None,
        Some(_) if arguments.without_locks => LocksView::LeftOut,
        Some(origin) => locks(origin, &target, &arguments.bucket, &arguments.endpoint).await?,
    };
    let endpoint = arguments.endpoint.trim_end_matches('/');
    let journal = arguments.journal.unwrap_or_else(|| PathBuf::from(format!("{}.import", arguments.bucket)));
    let import = Import {
        source: found.source,
        target,
        target_name: format!("{endpoint}/{}/{}", arguments.bucket, arguments.prefix),
        prefix: arguments.prefix,
        journal: journal.clone(),
        versions: arguments.versions,
        locks,
        skip_unreadable: arguments.skip_unreadable,
        parallel: arguments.parallel.into(),
        memory_mib: arguments.memory,
        overwrite: arguments.overwrite,
        delete: arguments.delete,
        plan: arguments.plan,
    };
    let done = import.run(format).await?;
    format.print(&done);
    if done.failed > 0 { Err(failed(&done)) } else { Ok(()) }
}

/// What to do about what failed.
fn failed(done: &ImportView) -> anyhow::Error {
    let ImportView { failed, unreadable, .. } = done;
    let noun = noun(done.versions);
    let without = match unreadable {
        0 => String::new(),
        _ => format!(
            "; {unreadable} of them the source lists and does not give: --skip-unreadable brings what is newer without them"
        ),
    };
    anyhow!(
        "{failed} {noun} failed, each named above with its reason; repeat the command when that is mended{without}"
    )
}

/// Refuses a bucket that would not keep what is brought.
async fn check_versioning(target: &Bucket, bucket: &str, endpoint: &str) -> anyhow::Result<()> {
    let told = target.versioning().await;
    if told.with_context(|| format!("ask whether bucket {bucket} at {endpoint} keeps versions"))?
        != Versioning::Enabled
    {
        bail!(
            "versioning of bucket {bucket} is not on; switch it on first: aws --endpoint-url {endpoint} s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled"
        );
    }
    Ok(())
}

/// What becomes of locks. Refuses to leave them behind unasked.
async fn locks(origin: &Origin, target: &Bucket, bucket: &str, endpoint: &str) -> anyhow::Result<LocksView> {
    let Origin { bucket: source, named, prefix, versions, is_signed } = origin;
    let untold = || {
        anyhow!(
            "whether objects of {named} are locked is not told to this access key; allow it s3:GetBucketObjectLockConfiguration, s3:GetObjectRetention and s3:GetObjectLegalHold, or leave locks behind: --without-locks"
        )
    };
    let ask = || format!("ask whether {named} has object lock");
    match source.locking().await.with_context(ask)? {
        Locking::Off => return Ok(LocksView::None),
        Locking::Untold if !is_signed => return Ok(LocksView::Untold),
        Locking::Untold => return Err(untold()),
        Locking::Enabled => {}
    }
    if !source.tells_locks(prefix, *versions).await.with_context(ask)? {
        return if *is_signed { Err(untold()) } else { Ok(LocksView::Untold) };
    }
    let told = target.locking().await;
    if told.with_context(|| format!("ask whether bucket {bucket} at {endpoint} has object lock"))?
        != Locking::Enabled
    {
        let aws = format!("aws --endpoint-url {endpoint} s3api");
        bail!(
            "{named} has object lock, and bucket {bucket} at {endpoint} has none: retentions and legal holds would be lost. Switch it on first: {aws} put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled; {aws} put-object-lock-configuration --bucket {bucket} --object-lock-configuration ObjectLockEnabled=Enabled. Or leave locks behind: --without-locks"
        );
    }
    Ok(LocksView::Brought)
}

/// Where objects come from.
struct Found {
    source: Source,
    /// Of a bucket.
    origin: Option<Origin>,
}

/// The bucket that objects come from.
struct Origin {
    bucket: Bucket,
    /// For people.
    named: String,
    prefix: String,
    versions: bool,
    is_signed: bool,
}

async fn source(arguments: &Arguments) -> anyhow::Result<Found> {
    let Some(named) = arguments.source.strip_prefix("s3://") else {
        if arguments.versions {
            bail!("{} is a folder, whose files have no versions; leave --versions out", arguments.source);
        }
        let source = Source::Folder(Folder::open(Path::new(&arguments.source))?);
        return Ok(Found { source, origin: None });
    };
    let (bucket, prefix) = named.split_once('/').unwrap_or((named, ""));
    if bucket.is_empty() {
        bail!("{} names no bucket; write s3://BUCKET or s3://BUCKET/PREFIX", arguments.source);
    }
    let keys = arguments.source_access_key.clone().zip(arguments.source_secret_key.clone());
    let region = arguments.source_region.clone();
    let endpoint = arguments.source_endpoint.clone();
    let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    let address = Address {
        endpoint: endpoint.clone(),
        region,
        bucket: bucket.to_owned(),
        keys: keys.map(|(access_key, secret_key)| Keys {
            access_key,
            secret_key,
            session_token: arguments.source_session_token.clone(),
        }),
    };
    let found = Bucket::new(address)?;
    let named = format!("bucket {bucket} at {endpoint}");
    found.exists().await.with_context(|| format!("find {named}"))?;
    let remote = Remote::new(found.clone(), endpoint, prefix.to_owned());
    let remote = if arguments.versions {
        // A bucket whose versioning is suspended has those of before.
        let told = found.versioning().await;
        if told.with_context(|| format!("ask whether {named} keeps versions"))? == Versioning::Off {
            bail!("{named} keeps no versions; leave --versions out");
        }
        remote.with_versions()
    } else {
        remote
    };
    let is_signed = arguments.source_access_key.is_some();
    let (prefix, versions) = (prefix.to_owned(), arguments.versions);
    let origin = Some(Origin { bucket: found, named, prefix, versions, is_signed });
    Ok(Found { source: Source::Remote(Box::new(remote)), origin })
}
