//! Files into bytes, and nothing more: no judgement about what they hold.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::{Located, Place, Problem, Problems, Tls};

/// No file of ours is larger; a larger one is a mistake, not a certificate.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// The bytes of every file that trust is made of.
#[derive(Debug)]
pub struct Files {
    /// The gate's certificate chain.
    pub cert: Content,
    /// Its private key; wiped from memory when dropped.
    pub key: Content,
    /// The CA bundles.
    pub client_ca: Vec<Content>,
}

/// One file's bytes.
pub struct Content {
    /// Where the configuration names it.
    pub place: Place,
    /// Its path as named there.
    pub path: PathBuf,
    /// What it held.
    pub bytes: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The bytes may be a private key.
        write!(
            f,
            "Content({}, {} bytes)",
            self.path.display(),
            self.bytes.len()
        )
    }
}

impl Content {
    /// A problem with this file.
    pub fn problem(&self, what: impl Into<String>) -> Problem {
        Problem {
            place: self.place.clone(),
            value: Some(self.path.display().to_string()),
            what: what.into(),
        }
    }
}

/// Reads the files.
///
/// # Errors
/// Every file that cannot be read, with why and what to do.
pub fn load(tls: &Tls) -> Result<Files, Problems> {
    let mut problems = Vec::new();
    let mut read = |located: &Located<PathBuf>| match read(&located.value) {
        Ok(bytes) => Some(Content {
            place: located.place.clone(),
            path: located.value.clone(),
            bytes,
        }),
        Err(what) => {
            let value = Some(located.value.display().to_string());
            problems.push(Problem {
                place: located.place.clone(),
                value,
                what,
            });
            None
        }
    };
    let cert = read(&tls.cert);
    let key = read(&tls.key);
    let client_ca: Vec<Content> = tls.client_ca.iter().filter_map(&mut read).collect();
    match (cert, key) {
        (Some(cert), Some(key)) if problems.is_empty() => Ok(Files {
            cert,
            key,
            client_ca,
        }),
        (_, _) => Err(Problems(problems)),
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let failed = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            return "no such file; mount the Secret there or name the right path".to_owned();
        }
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            let uid = rustix::process::getuid().as_raw();
            return format!("not readable by uid {uid}; check owner, mode and fsGroup");
        }
        format!("{error}; it must be a readable file")
    };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    // Reserved up front: a vector that grew would leave copies of a key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(size.min(MOST_BYTES)).unwrap_or(0) + 1,
    ));
    let read = file
        .take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match read as u64 {
        0 => Err(
            "the file is empty; it may be in the middle of an update, or the wrong one".to_owned(),
        ),
        1..=MOST_BYTES => Ok(bytes),
        _ => Err("larger than 64 MiB; this cannot be the file that was meant".to_owned()),
    }
}
