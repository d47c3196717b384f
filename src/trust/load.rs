//! Files into bytes, and nothing more: no judgement about what they hold.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat, readlink};
use zeroize::Zeroizing;

use crate::config::{Located, Place, Problem, Problems, Tls};
use crate::crypto::{Digest, digest_of};

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
    /// The revocation lists.
    pub client_crl: Vec<Content>,
    /// True if each file was read through a folder that its writer never changes, so that they belong together.
    pub atomic: bool,
}

impl Files {
    /// The digest of all of it.
    pub fn digest(&self) -> Digest {
        let own = [&self.cert, &self.key].map(|content| &**content.bytes);
        digest_of(own.into_iter().chain([&self.trust_digest()[..]]))
    }

    /// The digest of what says who vouches for clients: the CAs and the revocation lists, each as what it is.
    pub fn trust_digest(&self) -> Digest {
        let [cas, lists] = [&self.client_ca, &self.client_crl]
            .map(|files| digest_of(files.iter().map(|content| &**content.bytes)));
        digest_of([&cas[..], &lists[..]])
    }
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

/// Reads the files. Those of one Kubernetes volume are read through one open folder, so that an update in between
/// cannot mix two generations of them.
///
/// # Errors
/// Every file that cannot be read, with why and what to do.
pub fn load(tls: &Tls) -> Result<Files, Problems> {
    let mut problems = Vec::new();
    let mut volumes = Volumes {
        folders: HashMap::new(),
        atomic: true,
    };
    let mut read = |located: &Located<PathBuf>| match volumes.read(&located.value) {
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
    let client_crl: Vec<Content> = tls.client_crl.iter().filter_map(&mut read).collect();
    match (cert, key) {
        (Some(cert), Some(key)) if problems.is_empty() => Ok(Files {
            cert,
            key,
            client_ca,
            client_crl,
            atomic: volumes.atomic,
        }),
        (_, _) => Err(Problems(problems)),
    }
}

/// The kubelet's volumes that files were read from. A file there is a link to `..data/FILE`, and `..data` is a link to
/// the folder of one update, which is never written again: the kubelet makes a new folder and moves the link
/// (kubernetes, pkg/volume/util/atomic_writer.go).
struct Volumes {
    /// The folder behind `..data`, by the folder that holds the link, as it was when it was first needed.
    folders: HashMap<PathBuf, OwnedFd>,
    atomic: bool,
}

impl Volumes {
    fn read(&mut self, path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
        let file = self.open(path).map_err(describe)?;
        let size = file.metadata().map_err(describe)?.len();
        // Reserved up front: a vector that grew would leave copies of a key behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(
            usize::try_from(size.min(MOST_BYTES)).unwrap_or(0) + 1,
        ));
        let read = file
            .take(MOST_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(describe)?;
        match read as u64 {
            0 => Err(
                "the file is empty; it may be in the middle of an update, or the wrong one"
                    .to_owned(),
            ),
            1..=MOST_BYTES => Ok(bytes),
            _ => Err("larger than 64 MiB; this cannot be the file that was meant".to_owned()),
        }
    }

    fn open(&mut self, path: &Path) -> std::io::Result<File> {
        let Some((volume, rest)) = in_volume(path) else {
            self.atomic = false;
            return File::open(path);
        };
        if !self.folders.contains_key(&volume) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.folders.insert(
                volume.clone(),
                openat(CWD, volume.join(DATA), flags, Mode::empty())?,
            );
        }
        let folder = self
            .folders
            .get(&volume)
            .ok_or(std::io::ErrorKind::NotFound)?;
        Ok(File::from(openat(
            folder,
            &rest,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?))
    }
}

/// The link that the kubelet moves.
const DATA: &str = "..data";

/// The folder with the `..data` link that leads to this file, and where the file lies behind it.
fn in_volume(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let link = PathBuf::from(OsStr::new(readlink(path, Vec::new()).ok()?.to_str().ok()?));
    let rest = link.strip_prefix(DATA).ok()?;
    Some((path.parent()?.to_owned(), rest.to_owned()))
}

fn describe(error: std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotFound {
        return "no such file; mount the Secret there or name the right path".to_owned();
    }
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        let uid = rustix::process::getuid().as_raw();
        return format!("not readable by uid {uid}; check owner, mode and fsGroup");
    }
    format!("{error}; it must be a readable file")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A volume with two files that say which update they are of.
    struct Volume(tempfile::TempDir);

    impl Volume {
        fn new() -> Self {
            let volume = Self(tempfile::tempdir().unwrap());
            volume.swap(1);
            for file in ["tls.crt", "tls.key"] {
                symlink(format!("..data/{file}"), volume.file(file)).unwrap();
            }
            volume
        }

        fn swap(&self, update: usize) {
            let name = format!("..{update}");
            fs::create_dir(self.file(&name)).unwrap();
            for file in ["tls.crt", "tls.key"] {
                fs::write(self.file(&name).join(file), format!("{file} {update}")).unwrap();
            }
            symlink(&name, self.file("..data_tmp")).unwrap();
            fs::rename(self.file("..data_tmp"), self.file("..data")).unwrap();
        }

        fn remove(&self, update: usize) {
            fs::remove_dir_all(self.file(&format!("..{update}"))).unwrap();
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }
    }

    fn volumes() -> Volumes {
        Volumes {
            folders: HashMap::new(),
            atomic: true,
        }
    }

    fn read(volumes: &mut Volumes, path: &Path) -> Result<String, String> {
        let bytes = volumes.read(path)?;
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn a_swap_between_two_reads_mixes_nothing() {
        let volume = Volume::new();
        let mut volumes = volumes();
        let first = read(&mut volumes, &volume.file("tls.crt"));
        assert_eq!(first.as_deref(), Ok("tls.crt 1"));
        volume.swap(2);
        let second = read(&mut volumes, &volume.file("tls.key"));
        assert_eq!(second.as_deref(), Ok("tls.key 1"), "not of update 2");
        assert!(volumes.atomic);
        // The next look takes both from the new one.
        let mut volumes = self::volumes();
        for file in ["tls.crt", "tls.key"] {
            let read = read(&mut volumes, &volume.file(file));
            assert_eq!(read.unwrap(), format!("{file} 2"));
        }
    }

    #[test]
    fn a_swap_that_has_removed_the_old_folder_is_a_failed_read_and_no_mixture() {
        let volume = Volume::new();
        let mut volumes = volumes();
        read(&mut volumes, &volume.file("tls.crt")).unwrap();
        volume.swap(2);
        volume.remove(1);
        let second = read(&mut volumes, &volume.file("tls.key"));
        assert!(second.is_err_and(|why| why.contains("no such file")));
    }

    #[test]
    fn each_volume_has_a_folder_of_its_own() {
        let (one, other) = (Volume::new(), Volume::new());
        let mut volumes = volumes();
        read(&mut volumes, &one.file("tls.crt")).unwrap();
        other.swap(2);
        let read = read(&mut volumes, &other.file("tls.key"));
        assert_eq!(read.as_deref(), Ok("tls.key 2"));
        assert!(volumes.atomic);
    }

    #[test]
    fn a_plain_file_makes_no_promise_about_the_others() {
        let volume = Volume::new();
        let plain = volume.file("plain");
        fs::write(&plain, "plain").unwrap();
        symlink("plain", volume.file("link")).unwrap();
        for name in ["plain", "link"] {
            let mut volumes = volumes();
            read(&mut volumes, &volume.file("tls.crt")).unwrap();
            assert!(volumes.atomic);
            assert_eq!(
                read(&mut volumes, &volume.file(name)).as_deref(),
                Ok("plain")
            );
            assert!(!volumes.atomic, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_a_certificate_is_not_read() {
        let volume = Volume::new();
        let (empty, large) = (volume.file("empty"), volume.file("large"));
        fs::write(&empty, "").unwrap();
        File::create(&large)
            .unwrap()
            .set_len(MOST_BYTES + 1)
            .unwrap();
        let cases = [
            (empty, "empty"),
            (large, "larger than 64 MiB"),
            (volume.file("absent"), "no such file"),
            (volume.0.path().to_owned(), "must be a readable file"),
        ];
        for (path, why) in cases {
            let error = read(&mut volumes(), &path).unwrap_err();
            assert!(error.contains(why), "{why:?} in {error:?}");
        }
    }
}
