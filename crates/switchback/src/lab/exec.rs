//! Runs any client with the lab's name servers as its resolver: a private `resolv.conf`, bound over
//! the machine's in a mount namespace that only this process and its children see.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use super::layout::{Lab, SYSTEMS};

/// The resolver configuration that libc reads.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Becomes `command`, which resolves names through the lab. Returns only when that failed. Must be
/// called while this process has one thread: a namespace is a thread's own.
///
/// # Errors
/// The lab's name servers are not on port 53, or this machine does not permit mount namespaces, or
/// the command cannot be run.
pub fn exec(lab: &Lab, command: &[OsString]) -> anyhow::Result<()> {
    let mut text = String::from("# Of a Switchback lab.\noptions timeout:1 attempts:2\n");
    for name in SYSTEMS {
        let system = lab.system(name)?;
        if !system.dns.ends_with(":53") {
            bail!(
                "the lab's name servers listen on {}, and a resolver asks port 53 only; run `lab up` as root, or resolve through `switchback dns lookup --server {}`",
                system.dns,
                system.dns
            );
        }
        text += &format!("nameserver {}\n", system.address);
    }
    let file = lab.dir.join("resolv.conf");
    provide(&file, &text).with_context(|| format!("write {}", file.display()))?;
    enter(&file)?;
    let Some((program, arguments)) = command.split_first() else { bail!("no command was given") };
    let error = Command::new(program).args(arguments).env("SWITCHBACK_LAB", &lab.dir).exec();
    Err(error).with_context(|| format!("run {}", program.display()))
}

/// Puts `text` into `file`, which other clients of the lab read at this moment: one that found it empty would ask
/// name servers of the machine, or none. So it is replaced whole, and left alone where it says the same.
fn provide(file: &Path, text: &str) -> std::io::Result<()> {
    if fs::read_to_string(file).is_ok_and(|found| found == text) {
        return Ok(());
    }
    let temporary = file.with_extension(format!("conf.{}", std::process::id()));
    fs::write(&temporary, text)?;
    fs::rename(&temporary, file)
}

/// Enters a mount namespace in which `file` lies over the machine's resolver configuration.
fn enter(file: &Path) -> anyhow::Result<()> {
    const NOT_PERMITTED: &str = "this machine does not let us have a mount namespace of our own (it takes root, or user namespaces, or in a container CAP_SYS_ADMIN); point the client's resolver at the lab's name servers instead, they are in lab.json";
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        unshare(CloneFlags::CLONE_NEWNS).context(NOT_PERMITTED)?;
    } else {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).context(NOT_PERMITTED)?;
        // user_namespaces(7): groups can be mapped only by who has given up to change them.
        fs::write("/proc/self/setgroups", "deny").context(NOT_PERMITTED)?;
        fs::write("/proc/self/uid_map", format!("{user} {user} 1")).context(NOT_PERMITTED)?;
        fs::write("/proc/self/gid_map", format!("{group} {group} 1")).context(NOT_PERMITTED)?;
    }
    let none: Option<&str> = None;
    // Without this the mount would show in the machine's own namespace.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context(NOT_PERMITTED)?;
    if !Path::new(RESOLV_CONF).exists() {
        bail!("{RESOLV_CONF} does not exist, so nothing can be put over it; create it, empty");
    }
    mount(Some(file), RESOLV_CONF, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("put the lab's resolver over {RESOLV_CONF}; {NOT_PERMITTED}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_resolver_configuration_that_is_in_use_is_never_seen_half_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        let written = |text| {
            provide(&file, text).unwrap();
            (fs::metadata(&file).unwrap().ino(), fs::read_to_string(&file).unwrap())
        };
        let first = written("nameserver 127.0.10.1\n");
        assert_eq!(written("nameserver 127.0.10.1\n"), first);
        let reader = fs::File::open(&file).unwrap();
        let second = written("nameserver 127.0.20.1\n");
        assert_ne!(second.0, first.0, "whoever reads the old one reads it to its end");
        assert_eq!(std::io::read_to_string(reader).unwrap(), first.1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
