//! Volumes that change while they are read, and files that cannot be.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::config::Config;
use crate::trust::tests::flags;

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
    let bytes = volumes.read(path, MOST_CERTIFICATES);
    let bytes = bytes.map_err(|unread| unread.to_string())?;
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

fn tls(volume: &Volume, cas: &[&str]) -> Tls {
    let files = ["--cert", "--key"].into_iter().zip(["tls.crt", "tls.key"]);
    let cas = cas.iter().map(|name| ("--client-ca", *name));
    let files = files
        .chain(cas)
        .flat_map(|(flag, name)| [flag.to_owned(), volume.file(name).display().to_string()]);
    let more = ["--allow-dns", "client"].map(str::to_owned);
    let words: Vec<String> = files.chain(more).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Config::parse(&flags(&words)).unwrap().tls
}

fn problems(tls: &Tls) -> String {
    load(tls).map(drop).unwrap_err().to_string()
}

#[test]
fn every_file_that_cannot_be_read_is_told() {
    let volume = Volume::new();
    fs::write(volume.file("empty"), "").unwrap();
    let large = volume.file("large");
    let large = File::create(large).unwrap();
    large.set_len(MOST_CERTIFICATES + 1).unwrap();
    let told = problems(&tls(&volume, &["absent", "empty", "large"]));
    for what in ["no such file", "the file is empty", "larger than 4 MiB"] {
        assert!(told.contains(what), "{what:?} in {told}");
    }
    assert_eq!(told.lines().count(), 3, "{told}");
}

#[test]
fn a_secret_without_a_ca_is_told_as_what_it_is() {
    let volume = Volume::new();
    let told = problems(&tls(&volume, &["ca.crt"]));
    assert!(told.contains("its issuer leaves ca.crt out"), "{told}");
    fs::write(volume.file("ca.crt"), "").unwrap();
    let told = problems(&tls(&volume, &["ca.crt"]));
    assert!(told.contains("its issuer leaves ca.crt out"), "{told}");
    // With nothing beside it, that is not what is missing.
    volume.remove(1);
    let told = problems(&tls(&volume, &["ca.crt"]));
    assert!(!told.contains("issuer"), "{told}");
    assert!(
        told.contains("it may be in the middle of an update"),
        "{told}"
    );
}
