//! A set of files that must be new in, all of them on disk or none begun out.
//!
//! Its own file because two promises live here alone: no existing file is lost unless asked, and a private key is
//! never readable by others, not even while it is being written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};

use super::serial::{hex, random};

/// Whether existing files may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// One existing file and nothing is written.
    Keep,
    /// They are replaced whole, never written over in place.
    Replace,
}

/// Who may read a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// Everyone that the umask lets.
    Public,
    /// Its owner only: mode 0600.
    Private,
}

/// Keeps every other `pki` command waiting that wants the same folder, until it is dropped.
pub(super) struct Lock {
    _folder: Option<File>,
}

/// Waits for the folder; one that is not there keeps nobody waiting.
pub(super) fn lock(folder: &Path) -> anyhow::Result<Lock> {
    let opened = match File::open(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock { _folder: None }),
        opened => opened.with_context(|| format!("{}: cannot be opened", folder.display()))?,
    };
    // The lock ends with the process, however that ends, and leaves no file behind.
    flock(&opened, FlockOperation::LockExclusive).with_context(|| {
        format!(
            "{}: cannot be locked against other pki commands; give --dir on a local file system",
            folder.display()
        )
    })?;
    Ok(Lock {
        _folder: Some(opened),
    })
}

/// A file to be.
pub(super) struct NewFile<'a> {
    /// Where.
    pub(super) path: PathBuf,
    /// What.
    pub(super) content: &'a str,
    /// For whom.
    pub(super) secrecy: Secrecy,
}

impl<'a> NewFile<'a> {
    /// A file for everyone.
    pub(super) fn public(path: PathBuf, content: &'a str) -> Self {
        let secrecy = Secrecy::Public;
        Self {
            path,
            content,
            secrecy,
        }
    }

    /// A file for its owner.
    pub(super) fn private(path: PathBuf, content: &'a str) -> Self {
        let secrecy = Secrecy::Private;
        Self {
            path,
            content,
            secrecy,
        }
    }
}

/// Refuses, with the name of the first, if one of these exists and must be kept.
pub(super) fn all_absent<'a>(
    paths: impl IntoIterator<Item = &'a Path>,
    existing: Existing,
) -> anyhow::Result<()> {
    if existing == Existing::Replace {
        return Ok(());
    }
    for path in paths {
        // A dangling symbolic link is something, too: to write through it would create a file elsewhere.
        if path.symlink_metadata().is_ok() {
            bail!(
                "{}: exists and is not overwritten; give --force to replace it",
                path.display()
            );
        }
    }
    Ok(())
}

/// Writes them in their order, after a look at all of them.
pub(super) fn write_all(files: &[NewFile<'_>], existing: Existing) -> anyhow::Result<()> {
    all_absent(files.iter().map(|file| file.path.as_path()), existing)?;
    for file in files {
        if let Some(folder) = file.path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("{}: cannot make the folder", folder.display()))?;
        }
        let written = match existing {
            Existing::Keep => create(&file.path, file),
            Existing::Replace => replace(file),
        };
        written.with_context(|| format!("{}: cannot be written", file.path.display()))?;
        // The name outlives a power failure as well; a file system that cannot promise that has written it all the same.
        if let Some(folder) = file
            .path
            .parent()
            .and_then(|folder| File::open(folder).ok())
        {
            folder.sync_all().ok();
        }
    }
    Ok(())
}

/// Fails if the file exists, and leaves nothing half-written.
fn create(path: &Path, file: &NewFile<'_>) -> io::Result<()> {
    let mode = match file.secrecy {
        Secrecy::Public => 0o666,
        Secrecy::Private => 0o600,
    };
    // The mode belongs to the open: a chmod afterwards would leave a moment in which others can open it.
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(mode).open(path)?;
    let written = fill(opened, file.content);
    if written.is_err() {
        // The first error is the one to tell.
        fs::remove_file(path).ok();
    }
    written
}

fn fill(mut opened: File, content: &str) -> io::Result<()> {
    opened.write_all(content.as_bytes())?;
    opened.sync_all()
}

/// Puts a complete new file in the place of what was there, whose mode it does not take over.
fn replace(file: &NewFile<'_>) -> io::Result<()> {
    let suffix = random::<4>().map_err(io::Error::other)?;
    let mut name = file.path.clone().into_os_string();
    name.push(format!(".{}.tmp", hex(&suffix)));
    let temporary = PathBuf::from(name);
    create(&temporary, file)?;
    let renamed = fs::rename(&temporary, &file.path);
    if renamed.is_err() {
        fs::remove_file(&temporary).ok();
    }
    renamed
}
