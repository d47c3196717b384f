//! A throwaway PKI in a private folder that is gone when the value is.
//!
//! Its own file because two promises live here: nobody else can read a key, and nothing is left behind, whatever way
//! the demo ends (but for SIGKILL).

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustls::pki_types::UnixTime;

use super::CLIENT;
use crate::cli::pki::authority::{Authority, Issued, Names, Purpose, unused_name};
use crate::cli::pki::lifetime::lifetime;

/// How long the certificates are good, in days.
const DAYS: u32 = 1;

/// The folder; dropping it removes it with all that is in it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes a new folder, mode 0700, below the system's folder for temporary files.
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut suffix = [0; 4];
        aws_lc_rs::rand::fill(&mut suffix)
            .ok()
            .context("the system's random number generator does not answer")?;
        let suffix = u32::from_be_bytes(suffix);
        let path = std::env::temp_dir().join(format!("portcullis-demo-{suffix:08x}"));
        // Fails if it exists, be it a link that someone else put there.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| {
                format!(
                    "{}: cannot make the folder; let TMPDIR name one you may write to",
                    path.display()
                )
            })?;
        Ok(Self { path })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a CA, a server certificate and a client certificate, and returns the CA's name.
    pub(super) fn fill(&self) -> anyhow::Result<String> {
        let valid = lifetime(UnixTime::now(), DAYS);
        let name = unused_name()?;
        let authority = Authority::new(&name, valid)?;
        let server = Names {
            common_name: Some("portcullis demo".to_owned()),
            dns: vec!["localhost".to_owned()],
            ips: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            ..Names::default()
        };
        let client = Names {
            common_name: Some("prometheus".to_owned()),
            dns: vec![CLIENT.to_owned()],
            ..Names::default()
        };
        self.write("ca.crt", authority.cert_pem())?;
        self.secret("server", &authority.issue(Purpose::Server, &server, valid)?)?;
        self.secret("client", &authority.issue(Purpose::Client, &client, valid)?)?;
        // The CA's key dies with `authority`: nobody can make another client of this demo.
        Ok(name)
    }

    fn secret(&self, name: &str, issued: &Issued) -> anyhow::Result<()> {
        let folder = self.file(name);
        fs::create_dir(&folder)
            .with_context(|| format!("{}: cannot make the folder", folder.display()))?;
        self.write(&format!("{name}/tls.crt"), &issued.cert_pem)?;
        self.write(&format!("{name}/tls.key"), &issued.key_pem)
    }

    fn write(&self, name: &str, content: &str) -> anyhow::Result<()> {
        let path = self.file(name);
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(&path);
        opened
            .and_then(|mut file| file.write_all(content.as_bytes()))
            .with_context(|| format!("{}: cannot be written", path.display()))
    }

    /// Removes it now, and says so if that fails.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error)
                .with_context(|| format!("{}: cannot be removed; remove it", self.path.display())),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // After `remove` there is nothing left, and on the way out of an error that one is told.
        fs::remove_dir_all(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_folder_is_private_and_gone_afterwards() {
        let folder = Folder::new().expect("it can be made");
        folder.fill().expect("it can be filled");
        let path = folder.path().to_owned();
        let mode = |path: &Path| {
            let mode = fs::metadata(path)
                .expect("it is there")
                .permissions()
                .mode();
            mode & 0o777
        };
        assert_eq!(mode(&path), 0o700);
        for key in ["server/tls.key", "client/tls.key"] {
            assert_eq!(mode(&path.join(key)), 0o600);
        }
        assert!(!path.join("ca.key").exists(), "the CA's key is on no disk");
        drop(folder);
        assert!(!path.exists());
        let folder = Folder::new().expect("it can be made");
        let path = folder.path().to_owned();
        folder.remove().expect("it is ours");
        assert!(!path.exists());
    }
}
