//! Small parts by themselves: the judge, the memory of verdicts, a connection's record, and the pump.
//!
//! `cargo bench --bench micro`, with criterion's options behind `--`. Times are of one core; those of the pump are CPU
//! time of the gate's own thread, whatever its client and its target need.

use std::ffi::OsString;
use std::fs;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime};

use clap::{Args as _, Command, FromArgMatches as _};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use portcullis::config::{Config, Flags};
use portcullis::crypto::provider;
use portcullis::event::{Ended, Outcome};
use portcullis::identity::Client;
use portcullis::judge::{Chain, Trust};
use portcullis::policy::{Allow, Rule, judge};
use portcullis::telemetry::{Metrics, Record, RouteMetrics, Session, Traffic};
use portcullis::trust::load::{Files, load};
use portcullis::trust::validate::validate;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const CLIENT: &str = "prometheus.monitoring.svc";
const SERVER: &str = "portcullis.internal";
const MIB: usize = 1 << 20;

/// A CA, and what it issued; the files of the gate lie in a folder.
struct Pki {
    folder: tempfile::TempDir,
    root: Certificate,
    client: Certificate,
    client_key: KeyPair,
}

impl Pki {
    fn make() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "a CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a CA");
        let issuer = Issuer::new(params, key);
        let (server, server_key) = leaf(&issuer, SERVER, ExtendedKeyUsagePurpose::ServerAuth);
        let (client, client_key) = leaf(&issuer, CLIENT, ExtendedKeyUsagePurpose::ClientAuth);
        let write = |name: &str, text: String| {
            fs::write(folder.path().join(name), text).expect("the folder can be written");
        };
        write("ca.crt", root.pem());
        write("tls.crt", server.pem());
        write("tls.key", server_key.serialize_pem());
        Self {
            folder,
            root,
            client,
            client_key,
        }
    }

    fn file(&self, name: &str) -> OsString {
        self.folder.path().join(name).into()
    }

    /// What `serve` would make of these flags.
    fn config(&self, target: SocketAddr) -> Config {
        let flags: [(&str, OsString); 8] = [
            ("--listen", "127.0.0.1:0".into()),
            ("--admin", "off".into()),
            ("--target", target.to_string().into()),
            ("--cert", self.file("tls.crt")),
            ("--key", self.file("tls.key")),
            ("--client-ca", self.file("ca.crt")),
            ("--allow-dns", CLIENT.into()),
            ("--log-format", "json".into()),
        ];
        let command = Flags::augment_args(Command::new("serve").no_binary_name(true))
            .mut_args(|flag| flag.env(None::<&'static str>));
        let words = flags
            .into_iter()
            .flat_map(|(flag, value)| [flag.into(), value]);
        let matches = command.try_get_matches_from(words).expect("flags of serve");
        let flags = Flags::from_arg_matches(&matches).expect("flags of serve");
        Config::parse(&flags).expect("a configuration")
    }
}

fn leaf(
    issuer: &Issuer<'_, KeyPair>,
    name: &str,
    purpose: ExtendedKeyUsagePurpose,
) -> (Certificate, KeyPair) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("a DNS name"))];
    params.extended_key_usages = vec![purpose];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().expect("a key");
    (params.signed_by(&key, issuer).expect("a certificate"), key)
}

fn client(pki: &Pki) -> Arc<Client> {
    Arc::new(Client::from_der(pki.client.der()).expect("a readable certificate"))
}

/// The client's own rule among so many others.
fn allow(rules: usize) -> Allow {
    let others = (1..rules).map(|number| format!("client-{number}.example"));
    let names = others.chain([CLIENT.to_owned()]);
    let rules = names.map(|name| Rule::dns(&name).expect("a DNS name"));
    Allow::rules(rules).expect("there are some")
}

/// Does one client meet one of so many rules?
fn judging(criterion: &mut Criterion) {
    let client = client(&Pki::make());
    let mut group = criterion.benchmark_group("judge");
    for rules in [1, 100, 10_000] {
        let allow = allow(rules);
        group.bench_with_input(
            BenchmarkId::new("rules", rules),
            &allow,
            |bencher, allow| {
                bencher.iter(|| judge(black_box(allow), black_box(&client)));
            },
        );
    }
    group.finish();
}

/// A client that was seen before, and one whose signatures alone are known, as after a reload.
fn verdict(criterion: &mut Criterion) {
    let pki = Pki::make();
    let config = pki.config(nowhere());
    let files = load(&config.tls).expect("readable files");
    let mut group = criterion.benchmark_group("verdict");
    let known = trust(&config, &files);
    let allow = allow(1);
    let chain = Chain::shown(pki.client.der(), &[]).expect("one certificate");
    let (verified, _) = trust(&config, &files)
        .admit(&allow, &chain, UnixTime::now())
        .expect("a good chain");
    let ask = |trust: &Trust| trust.admit_again(&allow, &verified, UnixTime::now());
    ask(&known).expect("a good chain");
    group.bench_function("hit", |bencher| bencher.iter(|| ask(black_box(&known))));
    group.bench_function("miss", |bencher| {
        let fresh = || trust(&config, &files);
        bencher.iter_batched_ref(fresh, |fresh| ask(fresh), BatchSize::SmallInput);
    });
    group.finish();
}

fn trust(config: &Config, files: &Files) -> Arc<Trust> {
    let validated = validate(config, files, None, SystemTime::now()).expect("good files");
    let route = validated.generation.route(0).expect("one route");
    Arc::clone(&route.trust)
}

/// All that is told of one connection: its counters, and its line of JSON, which then goes nowhere.
fn record(criterion: &mut Criterion) {
    let pki = Pki::make();
    let config = pki.config(nowhere());
    portcullis::telemetry::log::start_into(config.log, |line| {
        black_box(line);
    });
    let route: Arc<str> = "default".into();
    let metrics = Metrics::new([&route], *config.log.format);
    let metrics = metrics.routes().first().expect("one route");
    let client = client(&pki);
    let admission = judge(&allow(1), &client).expect("it is named");
    let session = || Session {
        route: Arc::clone(&route),
        source: nowhere(),
        since: SystemTime::now(),
        client: Arc::clone(&client),
        admission: admission.clone(),
        tls_version: "TLSv1.3",
        cipher: "TLS_AES_128_GCM_SHA256",
        group: "X25519",
        traffic: Traffic::new(Arc::clone(metrics)),
    };
    criterion.bench_function("record", |bencher| {
        bencher.iter(|| tell(metrics, &client, session()));
    });
}

fn tell(metrics: &Arc<RouteMetrics>, client: &Arc<Client>, session: Session) {
    let mut record = Record::begin(Arc::clone(metrics), session.source);
    record.judged_by(1);
    record.verified(Arc::clone(client));
    session.traffic.add_to_target(226);
    session.traffic.add_from_target(102_000);
    record.admitted(Arc::new(session));
    record.close(&Ended::new(Outcome::Relayed, "both sides finished"));
}

/// Bytes through a whole gate in this process, on a connection that is open already.
fn pump(criterion: &mut Criterion) {
    let pki = Pki::make();
    let gate = start(pki.config(warehouse()));
    let mut stream = connect(&pki, gate.address);
    let mut group = criterion.benchmark_group("pump");
    group.throughput(Throughput::Bytes(MIB as u64));
    // Time is read in whole runs, so a run has to be worth reading.
    group.sample_size(20);
    group.bench_function("MiB down", |bencher| {
        bencher
            .iter_custom(|iterations| gate.cpu_time_of(|| transfer(&mut stream, iterations, true)));
    });
    group.bench_function("MiB up", |bencher| {
        bencher.iter_custom(|iterations| {
            gate.cpu_time_of(|| transfer(&mut stream, iterations, false))
        });
    });
    group.finish();
}

/// A gate that runs on one thread of this process.
struct Gate {
    address: SocketAddr,
    /// The kernel's account of the thread: its time on a CPU comes first, in nanoseconds (proc(5), schedstat).
    account: String,
}

fn start(config: Config) -> Gate {
    let (started, ready) = channel();
    std::thread::spawn(move || {
        let own = fs::read_link("/proc/thread-self").expect("procfs");
        let account = Path::new("/proc").join(own).join("schedstat");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let running = portcullis::serve::start(config, None)
                .await
                .expect("it starts");
            let address = *running.listening.first().expect("one route");
            let account = account.to_string_lossy().into_owned();
            started
                .send(Gate { address, account })
                .expect("the bench waits");
            std::future::pending::<()>().await;
        });
    });
    ready.recv().expect("it starts")
}

impl Gate {
    fn cpu_time_of(&self, work: impl FnOnce()) -> Duration {
        let before = self.cpu_time();
        work();
        self.cpu_time().saturating_sub(before)
    }

    fn cpu_time(&self) -> Duration {
        let text = fs::read_to_string(&self.account).expect("the thread runs");
        let first = text.split_whitespace().next().expect("three numbers");
        Duration::from_nanos(first.parse().expect("a number"))
    }
}

/// A target that is told with eight bytes how many MiB to send, or with a negative number how many to take.
fn warehouse() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("the gate dials");
        let mut chunk = vec![b'm'; MIB];
        let mut order = [0; 8];
        while socket.read_exact(&mut order).is_ok() {
            let order = i64::from_be_bytes(order);
            for _ in 0..order {
                socket.write_all(&chunk).expect("the gate reads");
            }
            for _ in order..0 {
                socket.read_exact(&mut chunk).expect("the gate writes");
            }
            if order < 0 {
                socket.write_all(b"!").expect("the gate reads");
            }
        }
    });
    address
}

fn connect(pki: &Pki, address: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(pki.root.der().clone()).expect("a trust anchor");
    let key = PrivatePkcs8KeyDer::from(pki.client_key.serialize_der());
    let config = ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a version that the provider speaks")
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![pki.client.der().clone()], key.into())
        .expect("a key that fits");
    let name = ServerName::try_from(SERVER).expect("a DNS name");
    let tls = ClientConnection::new(Arc::new(config), name).expect("a configuration");
    let socket = TcpStream::connect(address).expect("the gate accepts");
    StreamOwned::new(tls, socket)
}

fn transfer(stream: &mut StreamOwned<ClientConnection, TcpStream>, mibs: u64, down: bool) {
    let mut chunk = vec![b'm'; MIB];
    let order = i64::try_from(mibs).expect("it fits");
    let order = if down { order } else { -order };
    stream
        .write_all(&order.to_be_bytes())
        .expect("the gate reads");
    for _ in 0..mibs {
        if down {
            stream.read_exact(&mut chunk).expect("the gate writes");
        } else {
            stream.write_all(&chunk).expect("the gate reads");
        }
    }
    if !down {
        stream.read_exact(&mut [0]).expect("the gate writes");
    }
}

/// An address that nobody is asked to reach.
fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

criterion_group!(benches, judging, verdict, record, pump);
criterion_main!(benches);
