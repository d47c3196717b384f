//! Files that change under a running gate, each change made operation by operation as one kind of writer makes it;
//! and what is in them: certificates and revocation lists that are kept in memory until they are mounted.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, CertificateRevocationListParams, KeyIdMethod, KeyPair, RevokedCertParams,
    SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use super::client::{Connection, Ending};
use super::gate::{Gate, Setup};
use super::pki::{Authority, client_params, dns, server_params, temporary_folder};

/// Who changes the files, and so what the kernel reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    /// The kubelet's atomic writer: a new folder, and the link `..data` moved to it.
    Kubelet,
    /// A new file renamed over each old one.
    Rename,
    /// Each file truncated and written again.
    Rewrite,
    /// Each file is a link to somewhere else, which is replaced by a link to yet another place.
    Relink,
    /// The folder is a link to a release, which is replaced by a link to the next one.
    Release,
    /// Each file is rewritten through another name in another folder, which no watch on the first one reports.
    Unseen,
}

impl Writer {
    /// All whose changes the kernel reports.
    pub(crate) const SEEN: [Self; 5] = [
        Self::Kubelet,
        Self::Rename,
        Self::Rewrite,
        Self::Relink,
        Self::Release,
    ];
}

/// A folder of files and the one who writes it.
pub(crate) struct Mount {
    folder: TempDir,
    writer: Writer,
    files: BTreeMap<String, Vec<u8>>,
    updates: usize,
}

impl Mount {
    /// Nothing is in it yet.
    pub(crate) fn new(writer: Writer) -> Self {
        let folder = temporary_folder();
        for name in ["mount", "elsewhere"] {
            fs::create_dir(folder.path().join(name)).expect("the folder is new");
        }
        if writer == Writer::Release {
            fs::remove_dir(folder.path().join("mount")).expect("it is empty");
        }
        Self {
            folder,
            writer,
            files: BTreeMap::new(),
            updates: 0,
        }
    }

    /// The folder that a configuration names.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// A folder beside it.
    pub(crate) fn elsewhere(&self) -> PathBuf {
        self.folder.path().join("elsewhere")
    }

    /// The path that a configuration names.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// What is in a file.
    pub(crate) fn content(&self, name: &str) -> &[u8] {
        &self.files[name]
    }

    /// Changes some files and leaves the others as they are.
    pub(crate) fn update(&mut self, changes: &[(&str, &[u8])]) {
        self.updates += 1;
        for (name, content) in changes {
            self.files.insert((*name).to_owned(), content.to_vec());
        }
        match self.writer {
            Writer::Kubelet => self.swap(),
            Writer::Rename => {
                for (name, content) in changes {
                    let new = self.elsewhere().join(name);
                    fs::write(&new, content).expect("the folder can be written");
                    fs::rename(&new, self.path(name)).expect("it can be moved");
                }
            }
            Writer::Rewrite => {
                for (name, content) in changes {
                    fs::write(self.path(name), content).expect("the file can be written");
                }
            }
            Writer::Relink => {
                for (name, content) in changes {
                    let new = self.elsewhere().join(format!("{}-{name}", self.updates));
                    fs::write(&new, content).expect("the folder can be written");
                    replace_link(&new, &self.path(name));
                }
            }
            Writer::Release => {
                let release = self.elsewhere().join(self.updates.to_string());
                fs::create_dir(&release).expect("the folder is new");
                for (name, content) in &self.files {
                    fs::write(release.join(name), content).expect("the folder can be written");
                }
                replace_link(&release, &self.root());
            }
            Writer::Unseen => {
                for (name, content) in changes {
                    let other = self.elsewhere().join(name);
                    fs::write(&other, content).expect("the file can be written");
                    if !self.path(name).exists() {
                        fs::hard_link(&other, self.path(name)).expect("one file system");
                    }
                }
            }
        }
    }

    /// What `AtomicWriter.Write` does (kubernetes, pkg/volume/util/atomic_writer.go), after the attribute noise that
    /// giving the volume to its group makes at every sync.
    fn swap(&self) {
        let root = self.root();
        let data = root.join("..data");
        let old = fs::read_link(&data).ok().map(|old| root.join(old));
        if let Some(old) = &old {
            for entry in fs::read_dir(old).expect("it is the newest") {
                give_to_group(&entry.expect("a readable entry").path(), 0o640);
            }
            give_to_group(old, 0o755);
        }
        let name = format!("..2026_11_23_03_50_35.{:09}", self.updates);
        let new = root.join(&name);
        fs::create_dir(&new).expect("the folder is new");
        fs::set_permissions(&new, Permissions::from_mode(0o755)).expect("it is ours");
        for (file, content) in &self.files {
            let file = new.join(file);
            fs::write(&file, content).expect("the folder can be written");
            give_to_group(&file, 0o640);
        }
        give_to_group(&new, 0o755);
        symlink(&name, root.join("..data_tmp")).expect("the last update is over");
        fs::rename(root.join("..data_tmp"), &data).expect("it can be moved");
        for file in self.files.keys() {
            if !root.join(file).exists() {
                symlink(Path::new("..data").join(file), root.join(file)).expect("it is new");
            }
        }
        if let Some(old) = old {
            fs::remove_dir_all(old).expect("it is ours");
        }
    }
}

fn give_to_group(path: &Path, mode: u32) {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    chown(path, Some(uid.as_raw()), Some(gid.as_raw())).expect("it stays ours");
}

fn replace_link(to: &Path, link: &Path) {
    let new = link.with_extension("new");
    symlink(to, &new).expect("the name is free");
    fs::rename(&new, link).expect("it can be moved");
}

/// A certificate chain and its key, not yet anywhere.
pub(crate) struct Identity {
    /// PEM, leaf first.
    pub(crate) chain: String,
    /// PEM.
    pub(crate) key: String,
    serial: u64,
}

impl Identity {
    /// The serial number as the gate shows it.
    pub(crate) fn serial(&self) -> String {
        let bytes = self.serial.to_be_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A TLS client that presents it and knows the CA of the servers.
    pub(crate) fn config(&self, servers: &Authority) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(servers.pem.as_bytes()).expect("a certificate");
        roots.add(ca).expect("a trust anchor");
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let chain = chain.collect::<Result<_, _>>().expect("a chain");
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider speaks it")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key);
        Arc::new(config.expect("a key that fits"))
    }
}

impl Authority {
    /// Issues a certificate; `above` are the intermediates between it and the root.
    pub(crate) fn issue(&self, mut params: CertificateParams, above: &[&Self]) -> Identity {
        // The highest byte is neither zero nor negative, so that every tool shows the same sixteen digits.
        let serial = (rand() >> 2) | 1 << 61;
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().expect("a key");
        let mut chain = self.sign(&params, &key).pem();
        chain.extend(above.iter().map(|authority| &*authority.pem));
        Identity {
            chain,
            key: key.serialize_pem(),
            serial,
        }
    }

    /// Issues a server certificate.
    pub(crate) fn server(&self) -> Identity {
        self.issue(server_params(), &[])
    }

    /// Issues a client certificate with the DNS SAN `NAME.test`.
    pub(crate) fn client(&self, name: &str) -> Identity {
        self.issue(client_params([dns(&format!("{name}.test"))]), &[])
    }

    /// A PEM revocation list of these, made now and good for a day.
    pub(crate) fn revoking(&self, revoked: &[&Identity]) -> String {
        let serials = revoked.iter().map(|identity| identity.serial);
        self.list(&list_params(serials)).pem().expect("PEM")
    }

    /// A revocation list with all its parameters.
    pub(crate) fn list(
        &self,
        params: &CertificateRevocationListParams,
    ) -> rcgen::CertificateRevocationList {
        self.sign_list(params)
    }
}

/// Parameters of a revocation list made now and good for a day.
pub(crate) fn list_params(
    serials: impl IntoIterator<Item = u64>,
) -> CertificateRevocationListParams {
    let now = SystemTime::now();
    let revoked = serials.into_iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: now.into(),
        reason_code: None,
        invalidity_date: None,
    });
    CertificateRevocationListParams {
        this_update: (now - Duration::from_secs(60)).into(),
        next_update: (now + Duration::from_secs(86_400)).into(),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

impl Identity {
    /// The serial number as a revocation list holds it.
    pub(crate) fn number(&self) -> u64 {
        self.serial
    }
}

fn rand() -> u64 {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).expect("there is randomness");
    u64::from_be_bytes(bytes)
}

/// What a configuration file says beside the paths of a [`Mount`].
#[derive(Clone)]
pub(crate) struct Rules {
    /// Lines at the top level.
    pub(crate) top: String,
    /// Lines of `[tls]`.
    pub(crate) tls: String,
    /// Lines of the route.
    pub(crate) route: String,
    /// The file names of the revocation lists.
    pub(crate) lists: Vec<&'static str>,
    /// The CA bundles, if they are not the mount's.
    pub(crate) bundles: Vec<PathBuf>,
    /// The target.
    pub(crate) target: String,
}

impl Rules {
    /// One route to a target that lets in clients with these names, looked at once an hour and at hints only.
    pub(crate) fn allowing(target: &str, names: &[&str]) -> Self {
        Self {
            top: "reload_interval = \"1h\"\n".to_owned(),
            tls: String::new(),
            route: allow(names),
            lists: Vec::new(),
            bundles: Vec::new(),
            target: target.to_owned(),
        }
    }

    /// The file.
    pub(crate) fn text(&self, mount: &Mount) -> String {
        let path = |name: &str| format!("{:?}", mount.path(name).display().to_string());
        let lists: Vec<String> = self.lists.iter().map(|name| path(name)).collect();
        let bundles: Vec<String> = match &*self.bundles {
            [] => vec![path("ca.crt")],
            bundles => bundles.iter().map(|path| format!("{path:?}")).collect(),
        };
        // An empty list is an error.
        let lists = match &*lists {
            [] => String::new(),
            lists => format!("client_crl = [{}]\n", lists.join(", ")),
        };
        format!(
            "admin = \"127.0.0.1:0\"\n{}\n[tls]\ncert = {}\nkey = {}\nclient_ca = [{}]\n{}{}\n\
             [[route]]\nname = \"default\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{}\"\n{}\n",
            self.top,
            path("tls.crt"),
            path("tls.key"),
            bundles.join(", "),
            lists,
            self.tls,
            self.target,
            self.route,
        )
    }
}

/// The line of a route that lets in clients with these names.
pub(crate) fn allow(names: &[&str]) -> String {
    let names: Vec<String> = names
        .iter()
        .map(|name| format!("\"{name}.test\""))
        .collect();
    format!("allow = {{ dns = [{}] }}\n", names.join(", "))
}

/// A gate all of whose files, the configuration included, are in one mount.
pub(crate) struct Mounted {
    pub(crate) mount: Mount,
    pub(crate) gate: Gate,
    /// The CA that clients know servers by.
    pub(crate) servers: Authority,
}

impl Mounted {
    /// Starts it with this CA bundle and these further files.
    pub(crate) fn start(
        writer: Writer,
        rules: &Rules,
        bundle: &str,
        more: &[(&str, &[u8])],
    ) -> Self {
        Self::start_with(writer, rules, bundle, more, |setup| setup)
    }

    /// The same with something special about the process.
    pub(crate) fn start_with(
        writer: Writer,
        rules: &Rules,
        bundle: &str,
        more: &[(&str, &[u8])],
        special: impl FnOnce(Setup) -> Setup,
    ) -> Self {
        let servers = Authority::root("servers");
        let server = servers.server();
        let mut mount = Mount::new(writer);
        let text = rules.text(&mount);
        let mut files: Vec<(&str, &[u8])> = vec![
            ("tls.crt", server.chain.as_bytes()),
            ("tls.key", server.key.as_bytes()),
            ("ca.crt", bundle.as_bytes()),
            ("gate.toml", text.as_bytes()),
        ];
        files.extend(more);
        mount.update(&files);
        let setup = Setup::bare().file(&mount.path("gate.toml"), 1);
        let gate = special(setup).start();
        Self {
            mount,
            gate,
            servers,
        }
    }

    /// A TLS client of this gate.
    pub(crate) fn client(&self, identity: &Identity) -> Arc<ClientConfig> {
        identity.config(&self.servers)
    }

    /// Changes the configuration file.
    pub(crate) fn rule(&mut self, rules: &Rules) {
        let text = rules.text(&self.mount);
        self.mount.update(&[("gate.toml", text.as_bytes())]);
    }

    /// The serial number of the certificate that the gate presents now to one who is let in.
    pub(crate) fn served(&self, client: &Arc<ClientConfig>) -> String {
        let connection = knock(self.gate.address(), client);
        presented(&connection.expect("the client is let in"))
    }
}

/// The serial number of the certificate that a server presented.
pub(crate) fn presented(connection: &Connection) -> String {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let chain = connection.tls().peer_certificates().expect("a certificate");
    let (_, leaf) = X509Certificate::from_der(&chain[0]).expect("a certificate");
    let bytes = leaf.raw_serial().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Connects to an echoing target: a connection that is let in and has carried a byte, or how it ended.
pub(crate) fn knock(address: SocketAddr, client: &Arc<ClientConfig>) -> Result<Connection, Ending> {
    let mut connection = Connection::open(address, Arc::clone(client))?;
    connection.try_send(b"?")?;
    match connection.receive_at_most(1) {
        (_, None) => Ok(connection),
        (_, Some(ending)) => Err(ending),
    }
}

impl Gate {
    /// The number of the generation in use.
    pub(crate) fn generation(&self) -> u64 {
        self.metrics().value("portcullis_generation", &[]) as u64
    }

    /// How many attempts to reload ended so, `success` or `failure`.
    pub(crate) fn reloads(&self, result: &str) -> u64 {
        let metrics = self.metrics();
        metrics.value("portcullis_reloads_total", &[("result", result)]) as u64
    }

    /// What `/status` says.
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/status").body).expect("JSON")
    }

    /// Returns once a generation later than this one is in use, with its number.
    pub(crate) fn wait_for_generation_after(&self, generation: u64) -> u64 {
        super::eventually("a new generation", || {
            Some(self.generation()).filter(|newer| *newer > generation)
        })
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// How many inotify watches it holds.
    pub(crate) fn watches(&self) -> usize {
        let folder = format!("/proc/{}/fdinfo", self.pid());
        let infos = fs::read_dir(folder).expect("the tests may look inside");
        let texts = infos.filter_map(|info| fs::read_to_string(info.ok()?.path()).ok());
        texts
            .map(|text| {
                text.lines()
                    .filter(|line| line.starts_with("inotify "))
                    .count()
            })
            .sum()
    }
}
