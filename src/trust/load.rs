//! Files into bytes, and nothing more: no judgement about what they hold. PEM is decoded when somebody first asks.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rustix::fs::{CWD, Mode, OFlags, openat, readlink};
use rustix::io::Errno;
use rustls::pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use crate::config::{Located, Place, Problem, Problems, Tls};
use crate::crypto::{Digest, digest_of};
use crate::file::{self, MOST_CERTIFICATES, MOST_LIST, Unreadable};
use crate::pem::{Block, Fault, Pem};

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
        let own = [&self.cert, &self.key].map(|content| &content.digest[..]);
        digest_of(own.into_iter().chain([&self.trust_digest()[..]]))
    }

    /// The digest of what says who vouches for clients: the CAs and the revocation lists, each as what it is.
    pub fn trust_digest(&self) -> Digest {
        let [cas, lists] = [&self.client_ca, &self.client_crl]
            .map(|files| digest_of(files.iter().map(|content| &content.digest[..])));
        digest_of([&cas[..], &lists[..]])
    }
}

/// What one file holds.
pub struct Content {
    /// Where the configuration names it.
    pub place: Place,
    /// Its path as named there.
    pub path: PathBuf,
    /// Of its bytes.
    pub digest: Digest,
    /// A file that is read and is what it was is never decoded. Decoding takes the memory of its bytes.
    pem: LazyLock<Result<Pem, Fault>, Decoding>,
}

type Decoding = Box<dyn FnOnce() -> Result<Pem, Fault> + Send>;

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The bytes may be a private key.
        write!(f, "Content({})", self.path.display())
    }
}

impl Content {
    /// The content of a file that stands in this place of the configuration.
    pub fn new(place: Place, path: PathBuf, bytes: Zeroizing<Vec<u8>>) -> Self {
        let digest = digest_of([&**bytes]);
        Self {
            place,
            path,
            digest,
            pem: LazyLock::new(Box::new(move || Pem::decode(bytes))),
        }
    }

    /// The certificates, in their order; never none. `meaning` says what they should be.
    ///
    /// # Errors
    /// If it holds none, or is not wholly PEM.
    pub fn certificates(&self, meaning: &str) -> Result<Vec<Block>, Problem> {
        self.of_pem(|pem| pem.certificates(meaning))
    }

    /// The certificates, and the line of the first revocation list, should there be one beside them.
    ///
    /// # Errors
    /// As for [`Self::certificates`].
    pub fn certificates_beside_lists(
        &self,
        meaning: &str,
    ) -> Result<(Vec<Block>, Option<usize>), Problem> {
        self.of_pem(|pem| pem.certificates_beside_lists(meaning))
    }

    /// The revocation lists, in their order; never none.
    ///
    /// # Errors
    /// If it holds none, or is neither wholly PEM nor one DER value.
    pub fn lists(&self) -> Result<Vec<Block>, Problem> {
        self.of_pem(|pem| pem.lists("a revocation list, as PEM or DER"))
    }

    /// The private key.
    ///
    /// # Errors
    /// If it holds none, several, or one that is encrypted, or is not wholly PEM.
    pub fn private_key(&self) -> Result<PrivateKeyDer<'_>, Problem> {
        self.of_pem(|pem| pem.private_key("the private key of the certificate"))
    }

    fn of_pem<'a, T>(
        &'a self,
        get: impl FnOnce(&'a Pem) -> Result<T, Fault>,
    ) -> Result<T, Problem> {
        let got = self.pem.as_ref().map_err(Clone::clone).and_then(get);
        got.map_err(|fault| self.problem(fault.to_string()))
    }

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
/// Every file that cannot be read, with why and what to do; only the first if that hangs, for the others may, too.
pub fn load(tls: &Tls) -> Result<Files, Problems> {
    let mut volumes = Volumes {
        folders: HashMap::new(),
        atomic: true,
    };
    let small = [&tls.cert, &tls.key].into_iter().chain(&tls.client_ca);
    let small = small.map(|file| (file, MOST_CERTIFICATES));
    let large = tls.client_crl.iter().map(|file| (file, MOST_LIST));
    let mut contents = Vec::new();
    let mut problems = Vec::new();
    for (Located { value: path, place }, most) in small.chain(large) {
        let unread = match volumes.read(path, most) {
            Ok(bytes) if !bytes.is_empty() => {
                contents.push(Content::new(place.clone(), path.clone(), bytes));
                continue;
            }
            Ok(_) => None,
            Err(unread) => Some(unread),
        };
        let hangs = matches!(unread, Some(Unreadable::Hangs(_)));
        let problem = Problem {
            place: place.clone(),
            value: Some(path.display().to_string()),
            what: unusable(unread, path, contents.first()),
        };
        if hangs {
            return Err(Problems(vec![problem]));
        }
        problems.push(problem);
    }
    let mut contents = contents.into_iter();
    match (contents.next(), contents.next()) {
        (Some(cert), Some(key)) if problems.is_empty() => Ok(Files {
            cert,
            key,
            client_ca: contents.by_ref().take(tls.client_ca.len()).collect(),
            client_crl: contents.collect(),
            atomic: volumes.atomic,
        }),
        (_, _) => Err(Problems(problems)),
    }
}

/// Says why a file that could not be read, or was empty, is of no use. The first file that could is the certificate, if
/// that could.
fn unusable(unread: Option<Unreadable>, path: &Path, first: Option<&Content>) -> String {
    let what = match &unread {
        None => "the file is empty",
        Some(Unreadable::Missing(_)) => "no such file",
        Some(Unreadable::Hangs(_) | Unreadable::Other(_)) => "",
    };
    let secret = |cert: &&Content| {
        let names = (path.file_name(), cert.path.file_name());
        path.parent() == cert.path.parent()
            && names == (Some("ca.crt".as_ref()), Some("tls.crt".as_ref()))
    };
    match (first.filter(secret), unread) {
        (Some(cert), _) if !what.is_empty() => format!(
            "{what}, but {} is there: its issuer leaves ca.crt out, as ACME issuers do; put the CA that issues the \
             certificates of clients into a file of your own, and name that",
            cert.path.display()
        ),
        (_, Some(unread)) => unread.to_string(),
        (_, None) => format!("{what}; it may be in the middle of an update, or the wrong one"),
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
    fn read(&mut self, path: &Path, most: u64) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
        file::touching(path, || {
            let file = self
                .open(path)
                .map_err(|errno| file::unopened(errno, path))?;
            file::whole(file, most)
        })
    }

    fn open(&mut self, path: &Path) -> Result<File, Errno> {
        let Some((volume, rest)) = in_volume(path) else {
            self.atomic = false;
            return file::open(CWD, path);
        };
        if !self.folders.contains_key(&volume) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = openat(CWD, volume.join(DATA), flags, Mode::empty())?;
            self.folders.insert(volume.clone(), folder);
        }
        let folder = self.folders.get(&volume).ok_or(Errno::NOENT)?;
        file::open(folder, &rest)
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

#[cfg(test)]
mod tests;
