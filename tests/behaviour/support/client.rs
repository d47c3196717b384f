//! A TLS client on rustls that tells endings apart, for what no command-line client can say or see.
//!
//! In TLS 1.3 a client has finished its handshake before the server judges it, so nothing here claims to be admitted
//! before it has read something.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::ClientConfig;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, ClientConnection, RootCertStore, StreamOwned};
use socket2::Socket;

use super::pki::{Credentials, SERVER_NAME};
use super::target::{patient, reset};

/// How long a write may stand still before the pipe counts as full.
pub(crate) const BLOCKED: Duration = Duration::from_secs(2);

/// How a connection ended, as the client saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A close_notify.
    Clean,
    /// A fatal alert.
    Alert(AlertDescription),
    /// The TCP stream ended without a close_notify.
    Truncated,
    /// A TCP reset.
    Reset,
}

impl Ending {
    fn of(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
        match (tls, error.kind()) {
            (Some(rustls::Error::AlertReceived(alert)), _) => Self::Alert(*alert),
            (None, ErrorKind::UnexpectedEof) => Self::Truncated,
            (None, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Self::Reset,
            _ => panic!("no ending that a test knows: {error}"),
        }
    }

    /// True for endings that no client may take for the end of the target's data.
    pub(crate) fn is_a_cut(self) -> bool {
        self != Self::Clean
    }
}

/// What a client offers.
pub(crate) struct Offer<'a> {
    pub(crate) credentials: Option<&'a Credentials>,
    pub(crate) ca: &'a Path,
    pub(crate) version: &'static rustls::SupportedProtocolVersion,
    /// Empty means the defaults of rustls.
    pub(crate) groups: Vec<&'static dyn SupportedKxGroup>,
}

impl<'a> Offer<'a> {
    /// TLS 1.3 with these credentials.
    pub(crate) fn of(credentials: &'a Credentials, ca: &'a Path) -> Self {
        Self {
            credentials: Some(credentials),
            ca,
            version: &rustls::version::TLS13,
            groups: Vec::new(),
        }
    }

    /// The rustls configuration.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let mut provider = aws_lc_rs::default_provider();
        if !self.groups.is_empty() {
            provider.kx_groups.clone_from(&self.groups);
        }
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.ca).expect("a CA certificate");
        roots.add(ca).expect("a trust anchor");
        let config = ClientConfig::builder_with_provider(Arc::<CryptoProvider>::new(provider))
            .with_protocol_versions(&[self.version])
            .expect("a version that the provider speaks")
            .with_root_certificates(roots);
        let config = match self.credentials {
            None => config.with_no_client_auth(),
            Some(credentials) => {
                let chain = CertificateDer::pem_file_iter(credentials.cert()).expect("a chain");
                let chain = chain.collect::<Result<_, _>>().expect("a readable chain");
                let key = PrivateKeyDer::from_pem_file(credentials.key()).expect("a key");
                let config = config.with_client_auth_cert(chain, key);
                config.expect("a key that fits")
            }
        };
        Arc::new(config)
    }

    /// Connects and finishes the client's side of the handshake.
    pub(crate) fn connect(&self, address: SocketAddr) -> Result<Connection, Ending> {
        Connection::open(address, self.config())
    }
}

impl Credentials {
    /// Connects with TLS 1.3; being connected does not yet mean being admitted.
    pub(crate) fn connect(&self, address: SocketAddr) -> Connection {
        let connection = Offer::of(self, &self.ca()).connect(address);
        connection.expect("in TLS 1.3 a client's handshake ends before it is judged")
    }
}

/// The name to verify the server by.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from(SERVER_NAME).expect("a DNS name")
}

/// A TLS connection whose handshake is over as far as the client can see.
pub(crate) struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Connection {
    /// Connects and finishes the client's side of the handshake.
    pub(crate) fn open(address: SocketAddr, config: Arc<ClientConfig>) -> Result<Self, Ending> {
        Self::over(
            TcpStream::connect(address).expect("the gate accepts"),
            config,
        )
    }

    /// The same over a socket that is connected already.
    pub(crate) fn over(socket: TcpStream, config: Arc<ClientConfig>) -> Result<Self, Ending> {
        let tls = ClientConnection::new(config, server_name()).expect("a configuration");
        patient(&socket.try_clone().expect("a descriptor is left").into());
        let mut stream = StreamOwned::new(tls, socket);
        while stream.conn.is_handshaking() {
            let progress = stream.conn.complete_io(&mut stream.sock);
            progress.map_err(|error| Ending::of(&error))?;
        }
        Ok(Self { stream })
    }

    /// Connects and sends all that the client's side of the handshake makes, these bytes and a close_notify at once.
    pub(crate) fn open_and_say(
        address: SocketAddr,
        config: Arc<ClientConfig>,
        bytes: &[u8],
    ) -> Self {
        let tls = ClientConnection::new(config, server_name()).expect("a configuration");
        let socket = TcpStream::connect(address).expect("the gate accepts");
        patient(&socket.try_clone().expect("a descriptor is left").into());
        let mut stream = StreamOwned::new(tls, socket);
        let (tls, socket) = (&mut stream.conn, &mut stream.sock);
        tls.write_tls(socket).expect("the gate reads");
        while tls.is_handshaking() {
            tls.read_tls(socket).expect("the gate answers");
            tls.process_new_packets().expect("a handshake");
        }
        let mut flight = Vec::new();
        tls.writer().write_all(bytes).expect("it fits");
        tls.send_close_notify();
        while tls.wants_write() {
            tls.write_tls(&mut flight).expect("a vector takes all");
        }
        socket.write_all(&flight).expect("the gate reads");
        Self { stream }
    }

    /// The first flight of a client.
    pub(crate) fn hello(config: Arc<ClientConfig>) -> Vec<u8> {
        let mut tls = ClientConnection::new(config, server_name()).expect("a configuration");
        let mut flight = Vec::new();
        tls.write_tls(&mut flight).expect("a vector takes all");
        flight
    }

    /// Connects and sends all that the client's side of the handshake makes but for the last bytes.
    pub(crate) fn open_but_for(
        address: SocketAddr,
        config: Arc<ClientConfig>,
        bytes: usize,
    ) -> Self {
        let tls = ClientConnection::new(config, server_name()).expect("a configuration");
        let socket = TcpStream::connect(address).expect("the gate accepts");
        patient(&socket.try_clone().expect("a descriptor is left").into());
        let mut stream = StreamOwned::new(tls, socket);
        let (tls, socket) = (&mut stream.conn, &mut stream.sock);
        tls.write_tls(socket).expect("the gate reads");
        while tls.is_handshaking() {
            tls.read_tls(socket).expect("the gate answers");
            tls.process_new_packets().expect("a handshake");
        }
        let mut flight = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut flight).expect("a vector takes all");
        }
        flight.truncate(flight.len() - bytes);
        socket.write_all(&flight).expect("the gate reads");
        Self { stream }
    }

    /// Connects with a handshake whose bytes arrive one at a time.
    pub(crate) fn open_slowly(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let tls = ClientConnection::new(config, server_name()).expect("a configuration");
        let socket = TcpStream::connect(address).expect("the gate accepts");
        patient(&socket.try_clone().expect("a descriptor is left").into());
        socket.set_nodelay(true).expect("an option of TCP");
        let mut stream = StreamOwned::new(tls, socket);
        let (tls, socket) = (&mut stream.conn, &mut stream.sock);
        while tls.is_handshaking() || tls.wants_write() {
            let mut flight = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut flight).expect("a vector takes all");
            }
            for byte in flight {
                socket.write_all(&[byte]).expect("the gate reads");
            }
            if tls.is_handshaking() {
                tls.read_tls(socket).expect("the gate answers");
                tls.process_new_packets().expect("a handshake");
            }
        }
        Self { stream }
    }

    /// The same over a socket that is connected already, by a client so far away that each of its flights has to wait.
    pub(crate) fn over_a_long_way(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        wait: impl Fn(),
    ) -> Self {
        let tls = ClientConnection::new(config, server_name()).expect("a configuration");
        patient(&socket.try_clone().expect("a descriptor is left").into());
        let mut stream = StreamOwned::new(tls, socket);
        let (tls, socket) = (&mut stream.conn, &mut stream.sock);
        while tls.is_handshaking() || tls.wants_write() {
            if tls.wants_write() {
                wait();
            }
            while tls.wants_write() {
                tls.write_tls(socket).expect("the gate reads");
            }
            if tls.is_handshaking() {
                let read = tls.read_tls(socket).expect("the gate answers");
                assert!(read > 0, "the gate ended the connection");
                tls.process_new_packets().expect("a handshake");
            }
        }
        Self { stream }
    }

    /// Changes the keys of the sending direction (RFC 8446 section 4.6.3).
    pub(crate) fn update_keys(&mut self) {
        self.stream.conn.refresh_traffic_keys().expect("TLS 1.3");
    }

    /// The TLS state, for facts about the handshake.
    pub(crate) fn tls(&self) -> &ClientConnection {
        &self.stream.conn
    }

    /// The TCP socket below, once more.
    pub(crate) fn socket(&self) -> Socket {
        let socket = self.stream.sock.try_clone();
        socket.expect("a descriptor is left").into()
    }

    /// The address that the gate sees.
    pub(crate) fn source(&self) -> SocketAddr {
        self.stream.sock.local_addr().expect("it is connected")
    }

    /// Sends bytes; an ending is the answer of a gate that lets nobody in.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> Result<(), Ending> {
        let sent = self
            .stream
            .write_all(bytes)
            .and_then(|()| self.stream.flush());
        sent.map_err(|error| Ending::of(&error))
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the gate reads");
    }

    /// Sends the records of these bytes after something has happened to them on the way.
    pub(crate) fn send_changed(&mut self, bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
        let (tls, socket) = (&mut self.stream.conn, &mut self.stream.sock);
        tls.writer().write_all(bytes).expect("it fits");
        let mut records = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut records).expect("a vector takes all");
        }
        change(&mut records);
        socket.write_all(&records).expect("the gate reads");
    }

    /// Sends zeros until nothing more fits, or a gibibyte; returns how many were taken.
    pub(crate) fn send_until_blocked(&mut self) -> usize {
        let socket = &self.stream.sock;
        socket.set_write_timeout(Some(BLOCKED)).expect("a duration");
        // rustls turns to reading when it cannot write.
        socket.set_read_timeout(Some(BLOCKED)).expect("a duration");
        let block = vec![0; 1 << 16];
        let mut taken = 0;
        while taken < 1 << 30 {
            match self.stream.write(&block) {
                Ok(len) => taken += len,
                Err(_) => break,
            }
        }
        taken
    }

    /// Receives exactly this many bytes.
    pub(crate) fn receive(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let received = self.stream.read_exact(&mut bytes);
        received.unwrap_or_else(|error| panic!("{:?}: {error}", Ending::of(&error)));
        bytes
    }

    /// Sends a byte to an echoing target: nothing if it came back, else how the connection ended instead.
    pub(crate) fn refusal(&mut self) -> Option<Ending> {
        match self.try_send(b"?") {
            Err(ending) => Some(ending),
            Ok(()) => self.receive_at_most(1).1,
        }
    }

    /// Sends a byte to an echoing target and waits for it: after this the client is admitted.
    pub(crate) fn prove_admitted(&mut self) {
        self.send(b"?");
        assert_eq!(self.receive(1), b"?");
    }

    /// Reads until the other side ends, and says how it did.
    pub(crate) fn read_to_end(&mut self) -> (Vec<u8>, Ending) {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return (bytes, Ending::Clean),
                Ok(len) => bytes.extend_from_slice(&buffer[..len]),
                Err(error) => return (bytes, Ending::of(&error)),
            }
        }
    }

    /// Reads this many bytes, or fewer if the other side ends before, and then how it did.
    pub(crate) fn receive_at_most(&mut self, len: usize) -> (Vec<u8>, Option<Ending>) {
        let mut bytes = vec![0; len];
        match self.stream.read(&mut bytes) {
            Ok(0) => (Vec::new(), Some(Ending::Clean)),
            Ok(len) => (bytes[..len].to_vec(), None),
            Err(error) => (Vec::new(), Some(Ending::of(&error))),
        }
    }

    /// How the connection ends, if nothing is read before.
    pub(crate) fn ending(&mut self) -> Ending {
        let (bytes, ending) = self.read_to_end();
        assert_eq!(bytes, b"", "nothing was to be read");
        ending
    }

    /// Ends the sending direction with a close_notify; receiving goes on.
    pub(crate) fn finish(&mut self) {
        self.stream.conn.send_close_notify();
        self.stream.flush().expect("the gate reads");
    }

    /// Ends the TCP stream without a close_notify.
    pub(crate) fn truncate(&self) {
        let ended = self.stream.sock.shutdown(std::net::Shutdown::Write);
        ended.expect("the connection is open");
    }

    /// Ends the connection with a TCP reset.
    pub(crate) fn reset(self) {
        reset(Socket::from(self.stream.sock));
    }

    /// Gives up the TLS state: what is sent from here on is no TLS.
    pub(crate) fn into_socket(self) -> TcpStream {
        self.stream.sock
    }
}
