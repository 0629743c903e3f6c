//! The command line: one noun a file, `switchback NOUN VERB NAME`.

mod certificate;
mod content;
mod credential;
mod dns;
mod import;
mod lab;
mod link;
mod log;
mod namespace;
mod recovery;
mod status;
mod store;
mod system;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) use self::content::{Kind, tenant};
pub(crate) use self::link::{Epochs, divergences};

use anyhow::Context as _;
use clap::{CommandFactory, Parser, Subcommand};

use crate::client::{Operator, request_id};
use crate::output::Format;
use crate::system::service::Service;
use crate::system::up::{self, Attachment};

const AFTER_HELP: &str = "\
Exit codes: 0 done; 1 refused or failed, the reason and the next step are on standard error; 2 wrong usage.

The workflow, when the primary fails (all on the replica):
  switchback link fail-over LINK              the replica becomes read-write
  switchback certificate show --pem           if the primary was rebuilt: exchange certificates,
  switchback certificate upload FILE          both ways
  switchback link update LINK --peer HOST     if its address changed
  switchback link restore LINK                if it was rebuilt
  switchback link recovery begin LINK         changes flow back
  switchback link recovery status LINK --watch
  switchback link recovery complete LINK      the rest by itself";

/// Two storage systems that take each other's place without losing a write.
#[derive(Debug, Parser)]
#[command(name = "switchback", version, propagate_version = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// The configuration of the system.
    #[arg(
        long,
        global = true,
        env = "SWITCHBACK_CONFIG",
        default_value = "switchback.toml",
        value_name = "FILE"
    )]
    pub config: PathBuf,
    /// The form of answers.
    #[arg(long, short, global = true, value_enum, default_value_t)]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Everything the command can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a system; show one.
    #[command(subcommand)]
    System(system::Command),
    /// Run all five services of a system in this process.
    Up,
    /// Run one service of a system in this process.
    Service {
        /// Which.
        service: Service,
        /// Who started it.
        #[command(flatten)]
        attachment: Attachment,
    },
    /// The system, its services, links and contents on one screen.
    Status(status::Arguments),
    /// Owners of namespaces and credentials, reached at `<tenant>.<domain>`.
    #[command(subcommand)]
    Tenant(content::Command),
    /// Top-level directories of the default namespace.
    #[command(subcommand)]
    Directory(content::Command),
    /// Namespaces of a tenant: S3 buckets.
    #[command(subcommand)]
    Namespace(namespace::Command),
    /// S3 credentials of a tenant.
    #[command(subcommand)]
    Credential(credential::Command),
    /// Bring a bucket of any S3 endpoint, or a folder, into a bucket of a tenant.
    Import(Box<import::Arguments>),
    /// Pair a primary and a replica system; fail over; recover.
    #[command(subcommand)]
    Link(link::Command),
    /// The system's certificate, and the systems it trusts.
    #[command(subcommand)]
    Certificate(certificate::Command),
    /// Zones, and what names answer.
    #[command(subcommand)]
    Dns(dns::Command),
    /// The data on this machine.
    #[command(subcommand)]
    Store(store::Command),
    /// The system log.
    Log(log::Arguments),
    /// Two systems on one machine, to try and to rehearse.
    #[command(subcommand)]
    Lab(lab::Command),
    /// Walk the whole workflow in a lab, and account for every acknowledged write.
    Demo(crate::demo::Arguments),
    /// Print a completion script.
    Completions {
        /// For this shell.
        shell: clap_complete::Shell,
    },
}

/// What every operator's command needs.
pub struct Context {
    /// The system.
    pub operator: Operator,
    /// The form of the answer.
    pub format: Format,
}

/// How a command that changes something names itself.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Identified {
    /// Names the command: repeated with the same id, it does nothing and gives the first answer.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl Identified {
    /// The given id, or a fresh one.
    fn id(&self) -> String {
        self.request_id.clone().unwrap_or_else(request_id)
    }
}

/// A command on a link: it has a name of its own and a dry run.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Planned {
    #[command(flatten)]
    identified: Identified,
    /// Change nothing; show what would happen and what is not yet on the other side.
    #[arg(long)]
    plan: bool,
}

/// Parses the arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = cli.output;
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            format.print_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<()> {
    if let Command::Completions { shell } = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "switchback", &mut std::io::stdout());
        return Ok(());
    }
    // It changes this thread's mounts and becomes another program: no other thread may be there.
    if let Command::Lab(lab::Command::Exec(arguments)) = cli.command {
        return lab::exec(arguments);
    }
    if matches!(cli.command, Command::Up | Command::Service { .. } | Command::Lab(lab::Command::Relay(_))) {
        switchback_kit::telemetry::init();
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let ended = runtime.block_on(Box::pin(run(cli)));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let format = cli.output;
    let context =
        || -> anyhow::Result<Context> { Ok(Context { operator: Operator::open(&cli.config)?, format }) };
    match cli.command {
        Command::System(system::Command::Init(arguments)) => system::init(*arguments, format),
        Command::System(system::Command::Show) => system::show(&context()?).await,
        Command::Up => up::up(&cli.config).await,
        Command::Service { service, attachment } => up::one(service, &cli.config, attachment).await,
        Command::Status(arguments) => status::run(arguments, &context()?).await,
        Command::Tenant(command) => content::run(Kind::Tenant, command, &context()?).await,
        Command::Directory(command) => content::run(Kind::Directory, command, &context()?).await,
        Command::Namespace(command) => namespace::run(command, &context()?).await,
        Command::Credential(command) => credential::run(command, &context()?).await,
        Command::Import(arguments) => Box::pin(import::run(*arguments, format)).await,
        Command::Link(command) => Box::pin(link::run(command, &context()?)).await,
        Command::Certificate(command) => certificate::run(command, &context()?).await,
        Command::Dns(command) => dns::run(command, &context()?).await,
        Command::Log(arguments) => log::run(arguments, &context()?).await,
        Command::Store(store::Command::Check(arguments)) => store::check(&arguments, &cli.config, format),
        Command::Store(store::Command::Scrub(arguments)) => store::scrub(arguments, &context()?).await,
        Command::Lab(command) => Box::pin(lab::run(command, format)).await,
        Command::Demo(arguments) => Box::pin(crate::demo::run(arguments)).await,
        Command::Completions { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_workflow_reads_as_the_documents_write_it() {
        for line in [
            "link create a --peer west.example.com --tenant acme --directory logs --dns-failover",
            "link fail-over a --no-drain --plan",
            "link restore a --request-id 1",
            "link recovery begin a",
            "link recovery status a --watch",
            "link recovery complete a --anyway",
            "link declare-lost a --confirm a",
            "link declare-lost a --plan",
            "link pause a --tenant acme",
            "link resume a --tenant acme",
            "--output json certificate upload file.pem",
            "import /srv/photos photos --endpoint http://a --access-key k --secret-key s --delete --plan",
            "import s3://old/2024/ photos --endpoint http://a --access-key k --secret-key s --source-endpoint https://b",
            "import s3://old photos --endpoint http://a --access-key k --secret-key s --versions --delete",
            "import s3://old photos --endpoint http://a --access-key k --secret-key s --versions --skip-unreadable --without-locks",
            "log --follow --link a -o json",
        ] {
            let words = std::iter::once("switchback").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_command_without_what_it_needs_is_wrong_usage() {
        for line in [
            "link create a --peer west",
            "link declare-lost a",
            "import s3://old photos --endpoint http://a --access-key k --secret-key s --skip-unreadable",
        ] {
            let words = std::iter::once("switchback").chain(line.split(' '));
            assert_eq!(Cli::try_parse_from(words).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
