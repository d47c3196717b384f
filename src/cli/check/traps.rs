//! Files and ports in, what will go wrong later out.
//!
//! Its own file because a trap is nothing the gate refuses: all of this serves today. Looks at the file system and at
//! `/proc` here; what it finds there is judged by pure functions below.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use crate::config::{Admin, Config, Located, Problem, TargetAddress};
use crate::file;
use crate::listen::{self, beyond, unix};

/// The most ports that one warning names.
const NAMED_PORTS: usize = 8;

/// Every trap in this configuration, as one sentence each.
pub(super) fn all(config: &Config) -> Vec<String> {
    let mut traps = Vec::new();
    for setting in config.unsafe_settings() {
        traps.push(format!("this weakens the gate: {setting}"));
    }
    traps.extend(world_readable(&config.tls.key).map(|trap| trap.to_string()));
    traps.extend(pinned_files(config));
    traps.extend(admin_socket(config).map(|trap| trap.to_string()));
    traps.extend(exposed_targets(config));
    traps.extend(ephemeral(&ports(config), listen::ephemeral_range));
    traps
}

/// Others may read the key. The mode of the real file counts, as a Secret's file is a symbolic link. A group that may
/// read it (0440 with fsGroup) is how a gate that does not run as root gets its key, and no trap.
fn world_readable(key: &Located<PathBuf>) -> Option<Problem> {
    let metadata = looking(&key.value, || fs::metadata(&key.value))?;
    let mode = metadata.permissions().mode() & 0o7777;
    (mode & 0o004 != 0).then(|| Problem {
        place: key.place.clone(),
        value: Some(key.value.display().to_string()),
        what: format!(
            "mode {mode:04o} lets every user read the private key; chmod 0600, or for a Secret set defaultMode: 0440 \
             with the pod's fsGroup"
        ),
    })
}

/// The routes whose targets can be reached without the gate as things stand now. A gate that runs already may have the
/// port of a target on an address of its own.
fn exposed_targets(config: &Config) -> Vec<String> {
    let own: Vec<_> = config
        .routes
        .iter()
        .map(|route| route.listen.value)
        .collect();
    let beyond = beyond::beyond_loopback(&own);
    let exposed = config.routes.iter().filter_map(|route| {
        let by = beyond::exposing(&route.target, &beyond)?;
        Some(beyond::warning(&route.name, &route.target, by))
    });
    exposed.collect()
}

/// What stands where the admin socket is to be. One that answers is none: a gate may run already.
fn admin_socket(config: &Config) -> Option<Problem> {
    let Admin::Unix(path) = &config.admin else {
        return None;
    };
    Some(Problem {
        place: path.place.clone(),
        value: Some(config.admin.to_string()),
        what: unix::in_the_way(&path.value)?,
    })
}

/// Asks the file system about a path, if that answers.
fn looking<T>(path: &Path, ask: impl FnOnce() -> io::Result<T>) -> Option<T> {
    file::touching(path, || Ok(ask().ok())).ok().flatten()
}

/// The files of the configuration that a renewal will never reach.
fn pinned_files(config: &Config) -> Vec<String> {
    let Ok(mountinfo) = fs::read("/proc/self/mountinfo") else {
        return Vec::new();
    };
    let tls = &config.tls;
    let files = [&tls.cert, &tls.key]
        .into_iter()
        .chain(&tls.client_ca)
        .chain(&tls.client_crl);
    let pinned = files.filter_map(|file| {
        let real = looking(&file.value, || fs::canonicalize(&file.value))?;
        let what = pinned(&real, &mountinfo)?.to_owned();
        let value = Some(file.value.display().to_string());
        let place = file.place.clone();
        Some(Problem { place, value, what }.to_string())
    });
    pinned.collect()
}

/// Why this file (its real path, without symbolic links) stays as it is whatever its source becomes.
///
/// A mount holds on to the one file or folder that was mounted. A renewal makes new ones: the kubelet a new
/// `..TIMESTAMP` folder to which it swaps the link `..data`, most tools a new file that is renamed into place. So a
/// file is pinned if it is itself a mount point, or if the mount it lies in begins inside a `..TIMESTAMP` folder, which
/// is what `subPath` of a Secret or ConfigMap makes, of one file or of a folder in it. A mount of the whole volume
/// begins at the volume and is neither.
fn pinned(real: &Path, mountinfo: &[u8]) -> Option<&'static str> {
    let mounts = mountinfo.split(|byte| *byte == b'\n').filter_map(mount);
    // Of mounts over each other the last one is seen.
    let holds = mounts
        .filter(|mount| real.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())?;
    if holds.point == real {
        return Some(
            "the file itself is a mount point (a `subPath` mount, or one file bind-mounted), so a renewed one never \
             arrives here; mount the whole folder",
        );
    }
    holds.root.components().any(is_snapshot).then_some(
        "the mount is a `subPath` into one snapshot of a Secret or ConfigMap, so a renewed one never arrives here; \
         mount the whole volume",
    )
}

struct Mount {
    /// What of its file system is mounted.
    root: PathBuf,
    /// Where.
    point: PathBuf,
}

/// A line of proc_pid_mountinfo(5).
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ').skip(3).map(unescaped);
    let (root, point) = (fields.next()?, fields.next()?);
    Some(Mount { root, point })
}

/// Space, tab, newline and backslash stand there as three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let octal = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = match octal {
            Some(_) => after.get(3..).unwrap_or_default(),
            None => after,
        };
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

/// A folder as the kubelet names its snapshots, `..2006_01_02_15_04_05.123456789`.
fn is_snapshot(component: Component<'_>) -> bool {
    let name = component.as_os_str().as_bytes();
    matches!(name, [b'.', b'.', year @ .., ] if year.len() > 5
        && year.iter().take(4).all(u8::is_ascii_digit)
        && year.get(4) == Some(&b'_'))
}

/// Every port of this host that the gate needs, and what it is.
fn ports(config: &Config) -> Vec<(u16, String)> {
    let mut ports = Vec::new();
    for route in &config.routes {
        let name = &route.name;
        ports.push((route.listen.value.port(), format!("listener of {name}")));
        match route.target.address() {
            TargetAddress::Tcp(address) if !route.target.is_unsafe() => {
                ports.push((address.port(), format!("target of {name}")));
            }
            TargetAddress::Tcp(_) | TargetAddress::Unix(_) => {}
        }
    }
    match &config.admin {
        Admin::Tcp(listen) => ports.push((listen.value.port(), "admin".to_owned())),
        Admin::Off | Admin::Unix(_) => {}
    }
    ports
}

fn ephemeral(
    ports: &[(u16, String)],
    range_of: impl Fn(u16) -> Option<RangeInclusive<u16>>,
) -> Option<String> {
    let mut range = None;
    let mut inside = ports.to_vec();
    inside.retain(|(port, _)| {
        let found = range_of(*port);
        range = found.clone().or(range.take());
        found.is_some()
    });
    let range = range?;
    let mut named: Vec<_> = inside
        .iter()
        .take(NAMED_PORTS)
        .map(|(port, what)| format!("{port} ({what})"))
        .collect();
    if inside.len() > NAMED_PORTS {
        named.push(format!("{} more", inside.len() - NAMED_PORTS));
    }
    let all: BTreeSet<u16> = inside.iter().map(|(port, _)| *port).collect();
    Some(format!(
        "{}: inside the kernel's ephemeral range {}-{} (net.ipv4.ip_local_port_range), so an outgoing connection can \
         hold such a port when it is needed; on the node, add {} to net.ipv4.ip_local_reserved_ports, or choose others",
        named.join(", "),
        range.start(),
        range.end(),
        as_ranges(&all)
    ))
}

/// Ports as the sysctl takes them: `54898-54900,54910`.
fn as_ranges(ports: &BTreeSet<u16>) -> String {
    let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some(last) if last.end().checked_add(1) == Some(*port) => {
                *last = *last.start()..=*port;
            }
            Some(_) | None => ranges.push(*port..=*port),
        }
    }
    let text = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Place;

    #[test]
    fn ports_in_the_ephemeral_range_are_one_warning() {
        let range = |port| (32768..=60999).contains(&port).then_some(32768..=60999);
        let named = |ports: &[u16]| {
            let ports = ports.iter().map(|port| (*port, "listener of x".to_owned()));
            ephemeral(&ports.collect::<Vec<_>>(), range)
        };
        assert_eq!(named(&[443, 9443]), None);
        let one = named(&[443, 54899]).expect("it lies inside");
        assert!(one.starts_with("54899 (listener of x): inside the kernel's"));
        assert!(one.contains("range 32768-60999") && one.contains("add 54899 to net.ipv4"));
        let many = named(&[54900, 54898, 54899, 54910]).expect("they lie inside");
        assert!(many.contains("add 54898-54900,54910 to net.ipv4.ip_local_reserved_ports"));
        let bounded = named(&(54000..54020).collect::<Vec<_>>()).expect("they lie inside");
        assert!(bounded.contains(", 12 more: "), "{bounded}");
    }

    #[test]
    fn a_file_is_pinned_if_its_mount_is() {
        let mountinfo = br"22 1 8:1 / / rw - ext4 /dev/sda1 rw
701 22 0:120 / /etc/whole rw - tmpfs tmpfs rw
702 22 0:120 /..2026_11_23_03_17_00.123456789/tls.crt /etc/one/tls.crt ro - tmpfs tmpfs rw
703 22 0:120 /..2026_11_23_03_17_00.123456789/certs /etc/folder ro - tmpfs tmpfs rw
704 22 8:1 /home/me/my\040ca.crt /srv/my\040ca.crt ro - ext4 /dev/sda1 rw
705 22 8:1 /var/lib/kubelet/pods/1/volumes/kubernetes.io~configmap/ca /etc/ca ro - ext4 /dev/sda1 rw
706 703 0:121 / /etc/folder ro - tmpfs tmpfs rw
";
        let why = |path: &str| pinned(Path::new(path), mountinfo);
        for free in [
            "/etc/passwd",
            "/etc/whole/..2026_11_23_03_17_00.123456789/tls.crt",
            "/etc/ca/..2026_11_23_03_17_00.123456789/ca.crt",
            "/etc/one/tls.key",
            "/etc/folder/tls.crt",
        ] {
            assert_eq!(why(free), None, "{free}");
        }
        for file in ["/etc/one/tls.crt", "/srv/my ca.crt"] {
            let why = why(file).expect(file);
            assert!(why.starts_with("the file itself is a mount point"), "{why}");
        }
        let before_706 = &mountinfo[..mountinfo.len() - 45];
        let why = pinned(Path::new("/etc/folder/tls.crt"), before_706).expect("a subPath");
        assert!(why.contains("one snapshot of a Secret"), "{why}");
    }

    #[test]
    fn a_key_that_the_group_may_read_is_no_trap() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let key = Located {
            value: folder.path().join("tls.key"),
            place: Place::Flag("--key"),
        };
        fs::write(&key.value, "key").expect("it is new");
        for (mode, trap) in [(0o600, false), (0o440, false), (0o644, true), (0o404, true)] {
            fs::set_permissions(&key.value, fs::Permissions::from_mode(mode)).expect("it is ours");
            assert_eq!(world_readable(&key).is_some(), trap, "{mode:o}");
        }
        let what = world_readable(&key).expect("it is one").what;
        assert!(what.starts_with("mode 0404 lets every user read"), "{what}");
    }
}
