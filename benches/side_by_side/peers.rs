//! The command line and the configuration of every relay, all with the same meaning: TLS 1.3, AES-128-GCM, X25519,
//! one server certificate, a client certificate of one CA required, no session tickets where that can be said, one log
//! line per connection into /dev/null that names the client, and as many workers as asked for where that can be said.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde_json::json;

use crate::pki::{CLIENT, Pki};
use crate::relays::{CONNECTIONS, Kind, Subject};

/// Sockets that one worker may have to hold.
const SOCKETS: usize = 2 * CONNECTIONS;

/// Where a relay stands.
pub(crate) struct Place<'a> {
    pub(crate) pki: &'a Pki,
    pub(crate) folder: &'a Path,
    pub(crate) listen: SocketAddr,
    pub(crate) target: SocketAddr,
    pub(crate) workers: usize,
}

impl Place<'_> {
    /// A file of this relay alone.
    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}-{name}", self.listen.port()))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.file(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// How to start it.
pub(crate) fn command(subject: &Subject, place: &Place<'_>) -> Result<Command> {
    let mut command = Command::new(&subject.program);
    match subject.kind {
        Kind::Gate => gate(&mut command, place),
        Kind::Envoy => envoy(&mut command, place)?,
        Kind::Ghostunnel => ghostunnel(&mut command, place),
        Kind::Haproxy => haproxy(&mut command, place)?,
        Kind::Hitch => hitch(&mut command, place)?,
        Kind::Nginx => nginx(&mut command, place)?,
        Kind::Stunnel => stunnel(&mut command, place)?,
        Kind::Floor => floor(&mut command, place),
    }
    Ok(command)
}

/// What could not be made equal, one sentence each.
pub(crate) fn unequal(kind: Kind) -> &'static str {
    match kind {
        Kind::Gate => {
            "the gate: its admin listener and its metrics are on, as by default; it also judges the client's name, and reads the client's certificate a second time."
        }
        Kind::Envoy => "Envoy: BoringSSL; it also checks the client's DNS name.",
        Kind::Ghostunnel => {
            "ghostunnel: Go's crypto/tls; workers are GOMAXPROCS; it also checks the client's DNS name; its log has lines of its own form."
        }
        Kind::Haproxy => {
            "HAProxy: OpenSSL of Debian; it checks the chain and no name; its log shows the subject's name."
        }
        Kind::Hitch => {
            "hitch: OpenSSL of Debian; a master and its workers are processes; it checks the chain and no name; it is told to write errors only, since it has no one-line record."
        }
        Kind::Nginx => {
            "nginx: OpenSSL of Debian; a master and its workers are processes; it checks the chain and no name; its log shows the subject's name."
        }
        Kind::Stunnel => {
            "stunnel: OpenSSL of Debian; it starts a thread for each connection, so the number of workers cannot be set; it also checks the client's DNS name; it writes several log lines per connection."
        }
        Kind::Floor => {
            "the floor: a plain relay that checks and records nothing, and the CPU time of the bare cryptography (aws-lc) in the measuring process beside it; in latency, memory and the time of a start it is the plain relay alone."
        }
    }
}

/// The image's own settings of the allocator, which a program that is started without the image has not.
fn image_tunables() -> Option<(&'static str, &'static str)> {
    let mut lines = include_str!("../../Dockerfile").lines();
    let setting = lines.find_map(|line| line.strip_prefix("ENV GLIBC_TUNABLES="))?;
    Some(("GLIBC_TUNABLES", setting))
}

fn gate(command: &mut Command, place: &Place<'_>) {
    command.envs(image_tunables());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PORTCULLIS_") {
            command.env_remove(name);
        }
    }
    command
        .arg("serve")
        .args(["--listen", &place.listen.to_string()])
        .args(["--target", &place.target.to_string()])
        .args(["--admin", "127.0.0.1:0"])
        .args(["--allow-dns", CLIENT])
        .args(["--threads", &place.workers.to_string()])
        .args(["--max-connections", &CONNECTIONS.to_string()])
        .args(["--idle-timeout", "1h"])
        .args(["--log-format", "json"])
        .arg("--cert")
        .arg(place.pki.cert())
        .arg("--key")
        .arg(place.pki.key())
        .arg("--client-ca")
        .arg(place.pki.ca());
}

fn floor(command: &mut Command, place: &Place<'_>) {
    command
        .arg("--plain")
        .args([place.listen, place.target].map(|address| address.to_string()))
        .arg(place.workers.to_string());
}

fn ghostunnel(command: &mut Command, place: &Place<'_>) {
    command
        .env("GOMAXPROCS", place.workers.to_string())
        .arg("server")
        .args(["--listen", &place.listen.to_string()])
        .args(["--target", &place.target.to_string()])
        .args(["--allow-dns", CLIENT])
        .arg("--cert")
        .arg(place.pki.cert())
        .arg("--key")
        .arg(place.pki.key())
        .arg("--cacert")
        .arg(place.pki.ca());
}

fn haproxy(command: &mut Command, place: &Place<'_>) -> Result<()> {
    let text = format!(
        "global
  nbthread {workers}
  maxconn {CONNECTIONS}
  log stdout format raw local0
  tune.ssl.cachesize 0
  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
defaults
  mode tcp
  log global
  log-format \"%t %ci:%cp %ts %[ssl_c_s_dn] %[ssl_c_serial,hex] %sslv %sslc %U %B %Tt\"
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend gate
  bind {listen} ssl crt {pem} ca-file {ca} verify required ciphersuites TLS_AES_128_GCM_SHA256 curves X25519
  default_backend target
backend target
  server target {target}
",
        workers = place.workers,
        listen = place.listen,
        target = place.target,
        pem = place.pki.cert_and_key().display(),
        ca = place.pki.ca().display(),
    );
    command
        .arg("-db")
        .arg("-f")
        .arg(place.write("haproxy.cfg", &text)?);
    Ok(())
}

fn nginx(command: &mut Command, place: &Place<'_>) -> Result<()> {
    let text = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes {workers};
worker_rlimit_nofile {files};
pid {pid};
error_log /dev/null;
events {{ worker_connections {SOCKETS}; }}
stream {{
  log_format record '$time_iso8601 $remote_addr $status $bytes_sent $bytes_received $session_time $ssl_client_s_dn $ssl_client_serial $ssl_protocol $ssl_cipher';
  access_log /dev/null record;
  proxy_timeout 1h;
  server {{
    listen {listen} ssl;
    proxy_pass {target};
    ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_client_certificate {ca};
    ssl_verify_client on;
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_conf_command NumTickets 0;
    ssl_ecdh_curve X25519;
    ssl_session_tickets off;
    ssl_session_cache off;
  }}
}}
",
        workers = place.workers,
        files = SOCKETS + 100,
        pid = place.file("nginx.pid").display(),
        listen = place.listen,
        target = place.target,
        cert = place.pki.cert().display(),
        key = place.pki.key().display(),
        ca = place.pki.ca().display(),
    );
    command
        .args(["-e", "/dev/null", "-c"])
        .arg(place.write("nginx.conf", &text)?);
    Ok(())
}

fn hitch(command: &mut Command, place: &Place<'_>) -> Result<()> {
    // As root it wants somebody else to run its workers.
    let root = rustix::process::geteuid().is_root();
    let user = if root { "user = \"nobody\"" } else { "" };
    let text = format!(
        "frontend = \"[{listen_ip}]:{listen_port}\"
backend = \"[{target_ip}]:{target_port}\"
pem-file = \"{pem}\"
workers = {workers}
tls-protos = TLSv1.3
ciphersuites = \"TLS_AES_128_GCM_SHA256\"
ecdh-curve = \"X25519\"
client-verify = required
client-verify-ca = \"{ca}\"
daemon = off
syslog = off
log-level = 0
ocsp-dir = \"\"
{user}
",
        listen_ip = place.listen.ip(),
        listen_port = place.listen.port(),
        target_ip = place.target.ip(),
        target_port = place.target.port(),
        pem = place.pki.cert_and_key().display(),
        workers = place.workers,
        ca = place.pki.ca().display(),
    );
    command
        .arg("--config")
        .arg(place.write("hitch.conf", &text)?);
    Ok(())
}

fn stunnel(command: &mut Command, place: &Place<'_>) -> Result<()> {
    let text = format!(
        "foreground = yes
pid =
syslog = no
debug = 5
output = /dev/null
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[gate]
accept = {listen}
connect = {target}
cert = {cert}
key = {key}
CAfile = {ca}
requireCert = yes
verifyChain = yes
checkHost = {CLIENT}
sslVersionMin = TLSv1.3
ciphersuites = TLS_AES_128_GCM_SHA256
curves = X25519
options = NO_TICKET
config = NumTickets:0
TIMEOUTidle = 3600
",
        listen = place.listen,
        target = place.target,
        cert = place.pki.cert().display(),
        key = place.pki.key().display(),
        ca = place.pki.ca().display(),
    );
    command.arg(place.write("stunnel.conf", &text)?);
    Ok(())
}

fn envoy(command: &mut Command, place: &Place<'_>) -> Result<()> {
    let address = |socket: SocketAddr| json!({"socket_address": {"address": socket.ip(), "port_value": socket.port()}});
    let file = |path: PathBuf| json!({"filename": path});
    let config = json!({"static_resources": {
        "listeners": [{
            "address": address(place.listen),
            "filter_chains": [{
                "filters": [{
                    "name": "envoy.filters.network.tcp_proxy",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                        "stat_prefix": "gate",
                        "cluster": "target",
                        "access_log": [{
                            "name": "envoy.access_loggers.file",
                            "typed_config": {
                                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                                "path": "/dev/null",
                                "log_format": {"json_format": {
                                    "time": "%START_TIME%",
                                    "source": "%DOWNSTREAM_REMOTE_ADDRESS%",
                                    "outcome": "%RESPONSE_FLAGS%",
                                    "names": "%DOWNSTREAM_PEER_DNS_SAN%",
                                    "serial": "%DOWNSTREAM_PEER_SERIAL%",
                                    "tls_version": "%DOWNSTREAM_TLS_VERSION%",
                                    "cipher": "%DOWNSTREAM_TLS_CIPHER%",
                                    "bytes_to_target": "%BYTES_RECEIVED%",
                                    "bytes_from_target": "%BYTES_SENT%",
                                    "duration_ms": "%DURATION%"
                                }}
                            }
                        }]
                    }
                }],
                "transport_socket": {
                    "name": "envoy.transport_sockets.tls",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                        "require_client_certificate": true,
                        "disable_stateless_session_resumption": true,
                        "disable_stateful_session_resumption": true,
                        "common_tls_context": {
                            "tls_params": {
                                "tls_minimum_protocol_version": "TLSv1_3",
                                "tls_maximum_protocol_version": "TLSv1_3",
                                "ecdh_curves": ["X25519"]
                            },
                            "tls_certificates": [{
                                "certificate_chain": file(place.pki.cert()),
                                "private_key": file(place.pki.key())
                            }],
                            "validation_context": {
                                "trusted_ca": file(place.pki.ca()),
                                "match_typed_subject_alt_names": [
                                    {"san_type": "DNS", "matcher": {"exact": CLIENT}}
                                ]
                            }
                        }
                    }
                }
            }]
        }],
        "clusters": [{
            "name": "target",
            "connect_timeout": "5s",
            "type": "STATIC",
            "circuit_breakers": {"thresholds": [{"max_connections": CONNECTIONS}]},
            "load_assignment": {
                "cluster_name": "target",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(place.target)}}]}]
            }
        }]
    }});
    command
        .arg("-c")
        .arg(place.write("envoy.json", &config.to_string())?)
        .args(["--concurrency", &place.workers.to_string()])
        .args(["--disable-hot-restart", "-l", "error"]);
    Ok(())
}
