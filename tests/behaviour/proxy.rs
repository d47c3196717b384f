//! PROXY v2: the target learns who the client is, in the first bytes and before the client's own, and only if asked.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::support::eventually;
use crate::support::gate::Setup;
use crate::support::peers::{Input, KillOnDrop, curl, run, start};
use crate::support::pki::{Pki, client_params, dns, temporary_folder, write};
use crate::support::target::{self, Target};

/// A header as the target reads it, taken apart by hand: the crate that the gate writes it with is no witness.
#[derive(Debug)]
struct Header {
    version_and_command: u8,
    family_and_protocol: u8,
    addresses: Vec<u8>,
    values: Vec<(u8, Vec<u8>)>,
}

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const TYPE_SSL: u8 = 0x20;
const SUBTYPE_VERSION: u8 = 0x21;
const SUBTYPE_CN: u8 = 0x22;
const SUBTYPE_CIPHER: u8 = 0x23;

impl Header {
    fn read(mut from: impl Read) -> Self {
        let mut fixed = [0; 16];
        from.read_exact(&mut fixed).expect("a header");
        assert_eq!(&fixed[..12], SIGNATURE);
        let mut rest = vec![0; usize::from(u16::from_be_bytes([fixed[14], fixed[15]]))];
        from.read_exact(&mut rest).expect("as much as it says");
        let values = rest.split_off(if fixed[13] >> 4 == 1 { 12 } else { 36 });
        Self {
            version_and_command: fixed[12],
            family_and_protocol: fixed[13],
            addresses: rest,
            values: type_length_values(&values),
        }
    }

    fn value(&self, kind: u8) -> &[u8] {
        value_of(&self.values, kind).unwrap_or_else(|| panic!("no value {kind:#x} in {self:?}"))
    }
}

fn type_length_values(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut values = Vec::new();
    while let [kind, high, low, rest @ ..] = bytes {
        let (value, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        values.push((*kind, value.to_vec()));
        bytes = rest;
    }
    assert_eq!(bytes, b"", "nothing is left over");
    values
}

fn value_of(values: &[(u8, Vec<u8>)], kind: u8) -> Option<&[u8]> {
    let mut values = values.iter();
    values
        .find(|(own, _)| *own == kind)
        .map(|(_, value)| value.as_slice())
}

/// A target that takes the header apart and hands on what comes after it.
fn proxied() -> Target<(Header, Vec<u8>)> {
    Target::serving(|socket, _| {
        let header = Header::read(&socket);
        (header, target::read_to_end(&socket).0)
    })
}

#[test]
fn the_header_comes_first_and_tells_who_connected_and_how() {
    let pki = Pki::shared();
    let target = proxied();
    let gate = Setup::open_to(&pki, &target)
        .flag("--proxy-protocol", "v2")
        .start();
    let mut params = client_params([dns("prometheus.test")]);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Prometheus the first");
    let credentials = pki.forge(&params);
    let mut client = credentials.connect(gate.address());
    let source = client.source();
    client.send(b"GET / HTTP/1.1\r\n");
    client.finish();
    let (header, bytes) = target.result();
    assert_eq!(
        bytes, b"GET / HTTP/1.1\r\n",
        "the client's bytes follow unchanged"
    );
    assert_eq!(header.version_and_command, 0x21, "version 2, PROXY");
    assert_eq!(header.family_and_protocol, 0x11, "TCP over IPv4");
    let mut addresses = vec![127, 0, 0, 1, 127, 0, 0, 1];
    addresses.extend(source.port().to_be_bytes());
    addresses.extend(gate.address().port().to_be_bytes());
    assert_eq!(
        header.addresses, addresses,
        "the client's address and the gate's"
    );

    let ssl = header.value(TYPE_SSL);
    assert_eq!(
        ssl[0] & 0x07,
        0x07,
        "TLS, with a certificate, in this session"
    );
    assert_eq!(ssl[1..5], [0; 4], "which was verified");
    let facts = type_length_values(&ssl[5..]);
    let fact = |kind| {
        value_of(&facts, kind)
            .map(String::from_utf8_lossy)
            .unwrap_or_default()
    };
    assert_eq!(fact(SUBTYPE_VERSION), "TLSv1.3");
    assert_eq!(fact(SUBTYPE_CN), "Prometheus the first");
    assert!(
        fact(SUBTYPE_CIPHER).starts_with("TLS"),
        "{}",
        fact(SUBTYPE_CIPHER)
    );
    let record = gate.record();
    assert_eq!(
        record["bytes_to_target"], 16,
        "the header is the gate's, not the client's"
    );
}

#[test]
fn without_the_flag_the_target_gets_the_clients_bytes_alone() {
    let pki = Pki::shared();
    let target = target::sink();
    let gate = Setup::open_to(&pki, &target).start();
    let mut client = pki.client("plain").connect(gate.address());
    client.send(b"first");
    client.finish();
    assert_eq!(target.result().0, b"first");
}

#[test]
fn the_header_comes_even_if_the_client_says_nothing() {
    let pki = Pki::shared();
    let target = proxied();
    let gate = Setup::open_to(&pki, &target)
        .flag("--proxy-protocol", "v2")
        .start();
    let mut client = pki.client("quiet").connect(gate.address());
    client.finish();
    let (_, bytes) = target.result();
    assert_eq!(bytes, b"");
}

#[test]
fn haproxy_accepts_the_header() {
    let pki = Pki::shared();
    let folder = temporary_folder();
    let (file, socket) = (
        folder.path().join("haproxy.cfg"),
        folder.path().join("socket"),
    );
    let configuration = format!(
        "defaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  timeout connect 60s\n\
         frontend through_the_gate\n  bind unix@{} accept-proxy\n  http-request return status 200 \
         content-type text/plain lf-string \"%[src]:%[src_port] %[dst]:%[dst_port]\"\n",
        socket.display()
    );
    write(&file, &configuration);
    let mut haproxy = Command::new("haproxy");
    haproxy
        .arg("-db")
        .arg("-f")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _haproxy = KillOnDrop::of(start(&mut haproxy));
    eventually("haproxy listens", || UnixStream::connect(&socket).ok());
    let gate = Setup::to(&pki, &format!("unix:{}", socket.display()))
        .switch("--allow-any-client")
        .flag("--proxy-protocol", "v2")
        .start();
    let done = run(
        &mut curl(gate.address(), "/", &pki.client("curl")),
        &Input::All(b""),
    );
    let source = gate.record()["source"]
        .as_str()
        .expect("a source")
        .to_owned();
    assert_eq!(
        done.stdout,
        format!("{source} {}", gate.address()),
        "{done:?}"
    );
}
