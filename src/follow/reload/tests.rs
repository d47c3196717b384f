//! One look at a time, without waiting for a hint.

use std::sync::Weak;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use super::*;
use crate::config::LogFormat;
use crate::judge::{Asked, Trust, Verified};
use crate::trust::load::load;
use crate::trust::tests::{Ca, Issued, flags};
use crate::trust::validate::validate;

struct Scene {
    folder: TempDir,
    servers: Ca,
    clients: Ca,
    reloader: Reloader,
    hints: Hints,
}

impl Scene {
    /// Has to be within a runtime.
    fn new() -> Self {
        let (servers, clients) = (Ca::new("servers"), Ca::new("clients"));
        let folder = tempfile::tempdir().unwrap();
        let server = servers.server();
        for (name, text) in [
            ("tls.crt", &*server.cert),
            ("tls.key", &*server.key),
            ("ca.crt", &*clients.pem()),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (cert, key, ca) = (path("tls.crt"), path("tls.key"), path("ca.crt"));
        let arguments = [
            "--cert",
            &cert,
            "--key",
            &key,
            "--client-ca",
            &ca,
            "--allow-dns",
            "client",
        ];
        let config = Config::parse(&flags(&arguments)).unwrap();
        let first = validate(
            &config,
            &load(&config.tls).unwrap(),
            None,
            SystemTime::now(),
        );
        let names = config.routes.iter().map(|route| &route.name);
        let metrics = Arc::new(Metrics::new(names, LogFormat::Json));
        let reloader = Reloader::new(
            Reader::default(),
            None,
            config.clone(),
            first.unwrap().generation,
            metrics,
        );
        let hangup = signal(SignalKind::hangup()).unwrap();
        Self {
            folder,
            servers,
            clients,
            reloader,
            hints: Hints::new(Duration::from_secs(3_600), hangup),
        }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    async fn look(&mut self) {
        self.reloader.follow(Hint::Timer, &mut self.hints).await;
    }

    fn current(&self) -> Arc<Generation> {
        Arc::clone(&self.reloader.published.borrow())
    }

    /// A session that was made under the current generation, and what the gate keeps of it.
    fn session(&self) -> (ServerConnection, Arc<Verified>) {
        let client = self.clients.client("client");
        let generation = self.current();
        let config = generation.route(0).unwrap().server_config();
        let mut asked = Asked::default();
        let mut server = ServerConnection::new(config).unwrap();
        let mut peer = peer(&self.servers, &client);
        let mut wire = Vec::new();
        while peer.is_handshaking() || server.is_handshaking() {
            peer.write_tls(&mut wire).unwrap();
            server.read_tls(&mut &*std::mem::take(&mut wire)).unwrap();
            asked
                .lend(|| server.process_new_packets().map(drop))
                .unwrap();
            server.write_tls(&mut wire).unwrap();
            peer.read_tls(&mut &*std::mem::take(&mut wire)).unwrap();
            peer.process_new_packets().unwrap();
        }
        match asked {
            Asked::Judged(Ok(verified)) => (server, verified),
            asked @ (Asked::Nothing | Asked::Shown(_) | Asked::Judged(Err(_))) => {
                unreachable!("{asked:?}")
            }
        }
    }
}

fn peer(servers: &Ca, client: &Issued) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(servers.0.der().clone()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(client.cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::clone(crate::crypto::provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    ClientConnection::new(Arc::new(config), ServerName::try_from("gate").unwrap()).unwrap()
}

#[tokio::test]
async fn nothing_of_an_old_generation_lives_on_in_a_session_made_under_it() {
    let mut scene = Scene::new();
    let session = scene.session();
    let old: Weak<Generation> = Arc::downgrade(&scene.current());
    let trust: Weak<Trust> = Arc::downgrade(&scene.current().route(0).unwrap().trust);
    let more = [&*scene.clients.pem(), &*Ca::new("more").pem()].concat();
    scene.write("ca.crt", &more);
    scene.look().await;
    assert_eq!(scene.current().number, 2);
    assert!(old.upgrade().is_none(), "the generation");
    assert!(
        trust.upgrade().is_none(),
        "what vouched, with its lists and verdicts"
    );
    drop(session);
}

#[tokio::test]
async fn the_same_files_publish_nothing() {
    let mut scene = Scene::new();
    let receiver = scene.reloader.generations();
    for _ in 0..3 {
        scene.look().await;
    }
    assert!(!receiver.has_changed().unwrap());
    assert_eq!(scene.reloader.last().failure(), None);
}

#[tokio::test]
async fn a_file_that_has_only_moved_is_a_change() {
    let mut scene = Scene::new();
    let path = |name: &str| scene.folder.path().join(name);
    for (from, to) in [("tls.crt", "moved.crt"), ("ca.crt", "moved-ca.crt")] {
        std::fs::copy(path(from), path(to)).unwrap();
    }
    let named = |name: &str| path(name).display().to_string();
    let (cert, key, ca) = (named("moved.crt"), named("tls.key"), named("moved-ca.crt"));
    let (moved, moved_ca) = (path("moved.crt"), path("moved-ca.crt"));
    let trust = Arc::clone(&scene.current().route(0).unwrap().trust);
    scene.reloader.flags = Some(flags(&[
        "--cert",
        &cert,
        "--key",
        &key,
        "--client-ca",
        &ca,
        "--allow-dns",
        "client",
    ]));
    scene.look().await;
    let current = scene.current();
    assert_eq!(current.number, 2);
    assert_eq!(current.server.path, moved);
    assert_eq!(current.client_cas[0].facts.path, moved_ca);
    assert!(
        Arc::ptr_eq(&trust, &current.route(0).unwrap().trust),
        "what vouches is the same"
    );
}

#[tokio::test]
async fn a_bad_set_is_kept_out_until_it_is_good() {
    let mut scene = Scene::new();
    let receiver = scene.reloader.generations();
    let new = scene.servers.server();
    scene.write("tls.crt", &new.cert);
    scene.look().await;
    let failure = scene.reloader.last().failure().unwrap();
    assert!(failure.reason.contains("does not belong"), "{failure:?}");
    scene.look().await;
    assert_eq!(
        scene.reloader.last().failure(),
        Some(failure),
        "as long as it lasts"
    );
    assert!(!receiver.has_changed().unwrap());
    scene.write("tls.key", &new.key);
    scene.look().await;
    assert_eq!(scene.reloader.last().failure(), None);
    assert!(receiver.has_changed().unwrap());
    assert_eq!(scene.current().number, 2);
}

#[tokio::test]
async fn a_failure_that_is_over_is_forgotten_even_if_nothing_is_published() {
    let mut scene = Scene::new();
    let key = std::fs::read_to_string(scene.folder.path().join("tls.key")).unwrap();
    scene.write("tls.key", "");
    scene.look().await;
    assert!(scene.reloader.last().failure().is_some());
    scene.write("tls.key", &key);
    scene.look().await;
    assert_eq!(scene.reloader.last().failure(), None);
    assert_eq!(scene.current().number, 1);
}
