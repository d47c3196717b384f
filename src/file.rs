//! A path in, the whole content of a file out, or one sentence that says why not and what to do.
//!
//! Everything that portcullis reads from disk, it reads here. A file is opened without waiting and measured before it is
//! read: a pipe, a device or a file without an end holds nobody up and fills no memory. What no flag of open(2)
//! prevents, a file system that does not answer, is noted by [`touching`] and survived by [`reader`]. What the bytes
//! mean is nothing to this file.

mod hang;
pub mod reader;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_setfl, fstat, openat};
use rustix::io::Errno;
use zeroize::Zeroizing;

pub use self::hang::touching;

/// The largest file of certificates or keys: ten times the roots of a browser.
pub const MOST_CERTIFICATES: u64 = 4 << 20;
/// The largest revocation list: some hundred thousand entries are a dozen MiB.
pub const MOST_LIST: u64 = 64 << 20;

/// Read in one go; a slow disk is seen to move between two of them.
const PIECE: usize = 1 << 20;

/// Why a file was not read: what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// There is none.
    #[error("{0}")]
    Missing(String),
    /// Its file system does not answer; whoever touches it next would not come back either.
    #[error("{0}")]
    Hangs(String),
    /// All else.
    #[error("{0}")]
    Other(String),
}

/// Reads a regular file, or a link to one, that is at most this large.
///
/// # Errors
/// If it is anything else, larger, or cannot be read to its end.
pub fn read(path: &Path, most: u64) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    touching(path, || {
        let file = open(CWD, path).map_err(|errno| unopened(errno, path))?;
        whole(file, most)
    })
}

/// As [`read`], but takes a pipe too, and waits for its end: for commands that a person runs once, as with `<(…)`.
///
/// # Errors
/// As [`read`].
pub fn read_once(path: &Path, most: u64) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    let file = touching(path, || {
        open(CWD, path).map_err(|errno| unopened(errno, path))
    })?;
    match fstat(&file) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo => {
            fcntl_setfl(&file, OFlags::empty()).map_err(|errno| unread(&errno.into()))?;
            drain(file, 0, most)
        }
        Ok(_) | Err(_) => touching(path, || whole(file, most)),
    }
}

/// Opens a path to be read, without waiting for anybody on the other side and without side effects.
///
/// # Errors
/// The kernel's; [`unopened`] says it for people.
pub fn open(folder: impl AsFd, path: &Path) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(File::from(openat(folder, path, flags, Mode::empty())?))
}

/// Reads what was opened, if it is a regular file of at most this size.
///
/// # Errors
/// If it is anything else, larger, or cannot be read to its end.
pub fn whole(file: File, most: u64) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    let stat = fstat(&file).map_err(|errno| unread(&errno.into()))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if let Some(what) = irregular(kind) {
        return Err(Unreadable::Other(what.to_owned()));
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size > most {
        return Err(too_large(most));
    }
    let bytes = drain(file, size, most)?;
    // Some file systems that are made up as they are read say zero.
    if size != 0 && bytes.len() as u64 != size {
        return Err(Unreadable::Other(
            "it changed while it was read; have it replaced in one step, by a rename".to_owned(),
        ));
    }
    Ok(bytes)
}

/// Reads to the end. No copy of a piece is left anywhere in memory: it may be a key.
fn drain(mut file: File, size: u64, most: u64) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    // One more than there should be, so that the end is found without growing.
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(size).unwrap_or(0) + 1]);
    let mut filled = 0;
    loop {
        if filled == bytes.len() {
            let mut more = Zeroizing::new(vec![0; (2 * filled).max(PIECE)]);
            if let Some(start) = more.get_mut(..filled) {
                start.copy_from_slice(&bytes);
            }
            bytes = more;
        }
        let end = bytes.len().min(filled + PIECE);
        match file.read(bytes.get_mut(filled..end).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(unread(&error)),
        }
        if filled as u64 > most {
            return Err(too_large(most));
        }
        hang::progress();
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn too_large(most: u64) -> Unreadable {
    let mib = most >> 20;
    Unreadable::Other(format!(
        "larger than {mib} MiB; this cannot be the file that was meant"
    ))
}

/// Why this is no regular file.
fn irregular(kind: FileType) -> Option<&'static str> {
    Some(match kind {
        FileType::RegularFile => return None,
        FileType::Directory => "a folder, not a file; name the file in it",
        FileType::Fifo => {
            "a pipe, not a file; what is read here is read more than once, so write it into a file"
        }
        FileType::CharacterDevice | FileType::BlockDevice => {
            "a device, not a file; name the file that was meant"
        }
        FileType::Socket | FileType::Symlink | FileType::Unknown => {
            "not a file; name the file that was meant"
        }
    })
}

/// Says for people why a path could not be opened.
pub fn unopened(errno: Errno, path: &Path) -> Unreadable {
    let what = match errno {
        Errno::NOENT => return Unreadable::Missing(missing(path)),
        Errno::ACCESS | Errno::PERM => {
            let uid = rustix::process::getuid().as_raw();
            return Unreadable::Other(format!(
                "not readable by uid {uid}; check owner and mode of the file and of every folder above it (of a \
                 Kubernetes volume: defaultMode and fsGroup)"
            ));
        }
        Errno::NOTDIR => {
            "a part of the path is a file where there should be a folder; name the right path"
        }
        Errno::LOOP => "links that lead in a circle; let the link point to the file",
        Errno::NAMETOOLONG => "longer than a path may be; shorten it",
        Errno::NXIO | Errno::NODEV => {
            "a socket or a device, not a file; name the file that was meant"
        }
        Errno::MFILE | Errno::NFILE => {
            "no file descriptor is left to open it with; raise the limit (ulimit -n)"
        }
        Errno::AGAIN => "another process holds a lease on it and has not given it back; try again",
        errno => return unread(&errno.into()),
    };
    Unreadable::Other(what.to_owned())
}

/// A missing file, or what on the way to it is missing.
fn missing(path: &Path) -> String {
    if let Ok(target) = std::fs::read_link(path) {
        let target = target.display();
        return format!(
            "no such file: there is a link, but what it leads to ({target}) is not there; put the file there"
        );
    }
    let folder = path.parent().filter(|folder| folder.as_os_str() != "");
    match folder.filter(|folder| matches!(folder.try_exists(), Ok(false))) {
        Some(folder) => format!(
            "no such file, and no folder {}; name the right path, or mount what should be there",
            folder.display()
        ),
        None => "no such file; name the right path, or put the file there".to_owned(),
    }
}

/// Says for people why a file could not be read to its end.
fn unread(error: &std::io::Error) -> Unreadable {
    let what = match Errno::from_io_error(error) {
        Some(Errno::IO) => {
            "the disk or the server that holds it reports an I/O error; the kernel's log says more"
        }
        Some(Errno::STALE) => {
            "the network file system does not know it any longer (a stale handle); mount that again"
        }
        Some(Errno::NOTCONN) => {
            "the program behind its FUSE mount is gone; start that or mount it again"
        }
        Some(Errno::TIMEDOUT | Errno::HOSTDOWN | Errno::HOSTUNREACH | Errno::CONNREFUSED) => {
            "the server that holds it does not answer; bring it back, or name a file elsewhere"
        }
        Some(Errno::ISDIR) => "a folder, not a file; name the file in it",
        Some(Errno::NOMEM) => "there is no memory left to read it into; raise the memory limit",
        _ => {
            return Unreadable::Other(format!(
                "the system cannot read it ({error}); check the file and what it lies on"
            ));
        }
    };
    Unreadable::Other(what.to_owned())
}
