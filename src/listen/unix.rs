//! A Unix socket at a path. Nothing is ever removed there but a dead socket, and at the end the own one.
//!
//! Its own file because two promises live here alone. What has the name of a socket of ours answers: it is bound under
//! another name, listens, and is then renamed in a way that fails if anything has the name. And what is removed is
//! what was looked at: it is moved aside, looked at again, and put back if it is something else. Gates that want the
//! same name take turns, so that none moves the socket of another. Follows no link.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{
    CWD, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat, fchmod, flock, fstat, link,
    lstat, openat, rename, renameat_with, unlink,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{BACKLOG, Hurdle};

/// Who may connect at most: owner and group. The umask takes away from it.
const MODE: Mode = Mode::from_bits_truncate(0o660);
/// How often something may come between a look and what follows from it.
const MOST_LOOKS: usize = 16;
/// A turn takes no time, so whoever holds the folder for longer is no gate: after twenty tries it goes without.
const BETWEEN_TRIES: Duration = Duration::from_millis(10);
const MOST_TRIES: usize = 20;

/// The name of a listening socket of ours; gone when dropped. To be dropped before the socket: as long as that listens,
/// nobody of our kind takes it for a dead one.
#[derive(Debug)]
pub struct Name {
    path: PathBuf,
    socket: Stat,
}

/// Listens at `path`. A dead socket there is replaced; anything else stays and is a hurdle.
pub(super) fn bind(path: &Path) -> Result<(UnixListener, Name), Hurdle> {
    let temporary = beside(path).map_err(|error| refused(path, error))?;
    let made = listen(&temporary).and_then(|listener| Ok((listener, lstat(&temporary)?)));
    let (listener, socket) = made.map_err(|error| refused(path, error))?;
    let path = path.to_owned();
    let _turn = turn(folder_of(&path));
    match claim(&temporary, &path) {
        Ok(()) => Ok((listener, Name { path, socket })),
        Err(hurdle) => {
            // The hurdle is what there is to tell.
            let _left_behind = unlink(&temporary);
            Err(hurdle)
        }
    }
}

/// What `bind` would be refused for, as long as that can be seen without asking anybody.
pub fn in_the_way(path: &Path) -> Option<String> {
    let folder = folder_of(path);
    if !folder.is_dir() {
        return Some(no_folder(folder).to_string());
    }
    found(path).err().map(|hurdle| hurdle.to_string())
}

impl Drop for Name {
    fn drop(&mut self) {
        let _turn = turn(folder_of(&self.path));
        let is_ours = |found: Stat| same(&found, &self.socket);
        if !lstat(&self.path).is_ok_and(is_ours) {
            return;
        }
        if let Err(hurdle) = take_away(&self.path, &self.socket) {
            tracing::warn!(event = "admin_socket_left", path = %self.path.display(), "{hurdle}");
        }
    }
}

/// Waits for the turn in this folder, which ends when dropped. `None` where there is none to be had: in a folder that may
/// not be listed, or on a file system without locks. Whoever may read the folder could hold it, so nobody insists.
fn turn(folder: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(CWD, folder, flags, Mode::empty()).ok()?;
    for _ in 0..MOST_TRIES {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN) => std::thread::sleep(BETWEEN_TRIES),
            locked => return locked.is_ok().then_some(folder),
        }
    }
    None
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    // Before it has a name, so that there is no moment in which others may connect: Linux gives the mode to the file.
    fchmod(&socket, MODE)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Gives what is at `temporary` the name `path`, once nothing has it.
fn claim(temporary: &Path, path: &Path) -> Result<(), Hurdle> {
    for _ in 0..MOST_LOOKS {
        match rename_to_new(temporary, path) {
            Err(Errno::EXIST) => make_room(path)?,
            renamed => return renamed.map_err(|error| refused(path, error.into())),
        }
    }
    Err(Hurdle::for_now(
        "what is there changes all the time",
        "Find out who makes it, or choose another path",
    ))
}

/// Removes a dead socket.
fn make_room(path: &Path) -> Result<(), Hurdle> {
    // Kept open: as long as it is, nothing else can have its number.
    let Some((_kept, socket)) = found(path)? else {
        return Ok(());
    };
    let mine = "choose another path";
    match knock(path) {
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::CONNREFUSED) => take_away(path, &socket),
            Some(Errno::NOENT) => Ok(()),
            // Somebody listens, and has more callers than it takes in.
            Some(Errno::AGAIN) => Err(taken(path)),
            Some(Errno::PROTOTYPE) => Err(Hurdle::for_good(
                "a socket of another kind is there, and somebody has it open",
                mine,
            )),
            Some(Errno::ACCESS) => Err(Hurdle::for_good(
                format!(
                    "a socket is there that uid {} may not connect to, so it may be alive",
                    geteuid().as_raw()
                ),
                format!("remove it, or {mine}"),
            )),
            Some(_) | None => Err(refused(path, error)),
        },
        Ok(()) => Err(taken(path)),
    }
}

fn taken(path: &Path) -> Hurdle {
    Hurdle::for_now(
        "somebody listens on the socket there",
        format!(
            "`ss -xlp | grep {}` on the node shows who; stop it or choose another path",
            path.display()
        ),
    )
}

/// The socket that is there, if anything is; what is no socket is a hurdle.
fn found(path: &Path) -> Result<Option<(OwnedFd, Stat)>, Hurdle> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened,
    };
    let looked = opened.and_then(|opened| fstat(&opened).map(|stat| (opened, stat)));
    let (opened, stat) = looked.map_err(|error| refused(path, error.into()))?;
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => return Ok(Some((opened, stat))),
        FileType::RegularFile => "a file",
        FileType::Directory => {
            let example = path.join("admin.sock");
            let remedy = format!("name a socket in it, unix:{}", example.display());
            return Err(Hurdle::for_good("a folder is there", remedy));
        }
        FileType::Symlink => {
            return Err(Hurdle::for_good(
                "a symbolic link is there, and none is followed",
                "write the path that it leads to",
            ));
        }
        FileType::Fifo => "a FIFO",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something that is no socket",
    };
    Err(Hurdle::for_good(
        format!("{what} is there, and only a dead socket is replaced"),
        "move it away or choose another path",
    ))
}

/// Connects and hangs up at once.
fn knock(path: &Path) -> io::Result<()> {
    let caller = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    caller.connect(&SockAddr::unix(path)?)
}

/// Removes what has this name if it is `socket`; what is something else has its name back then.
fn take_away(path: &Path, socket: &Stat) -> Result<(), Hurdle> {
    let aside = beside(path).map_err(|error| refused(path, error))?;
    match move_aside(path, &aside) {
        Err(Errno::NOENT) => return Ok(()),
        moved => moved.map_err(|error| refused(path, error.into()))?,
    }
    let is_it = lstat(&aside).map(|moved| same(&moved, socket));
    let done = match is_it {
        Ok(true) => unlink(&aside),
        Ok(false) => rename_to_new(&aside, path),
        Err(error) => Err(error),
    };
    done.map_err(|error| {
        Hurdle::for_good(
            format!(
                "what came there meanwhile is now {}: {error}",
                aside.display()
            ),
            "move it back and choose another path",
        )
    })
}

fn same(one: &Stat, other: &Stat) -> bool {
    let is_socket = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
    is_socket(one) && is_socket(other) && (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// A name in the same folder that nothing has: longer by nine bytes, which `config` keeps free in `sun_path`.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 4];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no random bytes"))?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:08x}", u32::from_be_bytes(random)));
    Ok(name.into())
}

/// Fails if anything has the new name.
fn rename_to_new(from: &Path, to: &Path) -> rustix::io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            // A file system that cannot; a second name cannot replace anything either.
            link(from, to)?;
            unlink(from)
        }
        renamed => renamed,
    }
}

fn move_aside(from: &Path, to: &Path) -> rustix::io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // In one step all the same: between two, somebody could put another file there.
        Err(Errno::INVAL | Errno::NOSYS) => rename(from, to),
        moved => moved,
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn no_folder(folder: &Path) -> Hurdle {
    Hurdle::for_good(
        format!("there is no folder {}", folder.display()),
        "make it or choose another path",
    )
}

/// Why the kernel did not let us.
fn refused(path: &Path, error: io::Error) -> Hurdle {
    let folder = folder_of(path);
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR) => no_folder(folder),
        Some(Errno::ACCESS | Errno::PERM) => Hurdle::for_good(
            format!(
                "uid {} may not make a socket in {}",
                geteuid().as_raw(),
                folder.display()
            ),
            "give it a folder of its own or choose another path",
        ),
        Some(Errno::ROFS) => Hurdle::for_good(
            format!("{} lies on a read-only file system", folder.display()),
            "mount a writable folder there, like an emptyDir, or choose another path",
        ),
        Some(_) | None => Hurdle::for_good(error.to_string(), "choose another path"),
    }
}

#[cfg(test)]
mod tests;
