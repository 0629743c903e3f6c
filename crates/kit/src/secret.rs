//! The secret that every call inside a system carries: a file made when the system is created.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use subtle::ConstantTimeEq;

/// Longer files are no secrets of ours; the limit keeps a wrong path from being read whole.
const LENGTH_MAX: u64 = 4096;

/// A shared secret. Never printed, compared in constant time.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Makes a new secret of 256 random bits in the file `path`, readable by its owner only.
    ///
    /// # Errors
    /// The file exists already or cannot be written durably.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut random = [0; 32];
        switchback_world::random::fill(&mut random).map_err(io::Error::other)?;
        let text = hex::encode(random);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(Self(text.into()))
    }

    /// Reads the secret in the file `path`.
    ///
    /// # Errors
    /// The file cannot be read, is empty, or is open to others than its owner.
    pub fn load(path: &Path) -> io::Result<Self> {
        let refuse = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode();
        if mode & 0o077 != 0 {
            let shown = path.display();
            return Err(refuse(format!(
                "{shown} is open to others (mode {:o}); run `chmod 600 {shown}`",
                mode & 0o777
            )));
        }
        let mut text = String::new();
        file.take(LENGTH_MAX).read_to_string(&mut text)?;
        let text = text.trim();
        if text.len() < 32 {
            return Err(refuse(format!(
                "{} holds no secret: expected at least 32 characters",
                path.display()
            )));
        }
        Ok(Self(text.into()))
    }

    /// True when `offered` is this secret; takes the same time whatever was offered.
    #[must_use]
    pub fn matches(&self, offered: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(offered).into()
    }

    /// The secret itself, for the metadata of a call.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_private_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let made = Secret::create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = Secret::load(&path).unwrap();
        assert!(read.matches(made.reveal().as_bytes()));
        assert!(!read.matches(b"another"));
        assert_eq!(format!("{read:?}"), "Secret(..)");
        assert!(Secret::create(&path).is_err());
    }

    #[test]
    fn a_secret_open_to_others_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        Secret::create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Secret::load(&path).unwrap_err().to_string().contains("chmod 600"));
    }
}
