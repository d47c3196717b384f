//! The client side: TLS with a client certificate, one suite, one group, no resumption, over blocking sockets; or the
//! same requests without TLS.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::pki::{Identity, Pki, SERVER};
use crate::target;

/// No single read or write may take longer.
const PATIENCE: Duration = Duration::from_secs(20);
const CHUNK: usize = 256 << 10;

/// Who connects.
#[derive(Clone)]
pub(crate) struct Client {
    /// `None` speaks no TLS, to the plain relay.
    config: Option<Arc<ClientConfig>>,
}

impl Client {
    pub(crate) const PLAIN: Self = Self { config: None };

    /// One that shows this identity, or none.
    pub(crate) fn new(pki: &Pki, identity: Option<&Identity>) -> Result<Self> {
        let provider = CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let mut roots = RootCertStore::empty();
        roots.add(pki.root.clone())?;
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut config = match identity {
            Some(identity) => {
                builder.with_client_auth_cert(identity.chain.clone(), identity.key())?
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Some(Arc::new(config)),
        })
    }

    /// Connects; the handshake is driven by the first exchange.
    pub(crate) fn open(&self, address: SocketAddr) -> Result<Connection> {
        let socket = TcpStream::connect(address).with_context(|| format!("connect {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let Some(config) = &self.config else {
            return Ok(Connection::Plain(socket));
        };
        let name = ServerName::try_from(SERVER)?;
        let tls = ClientConnection::new(Arc::clone(config), name)?;
        Ok(Connection::Tls(Box::new(StreamOwned::new(tls, socket))))
    }
}

/// One connection through a relay.
pub(crate) enum Connection {
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Plain(TcpStream),
}

/// Room for what is read, so that no connection has to own it.
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    pub(crate) fn new() -> Self {
        Self(vec![0; CHUNK])
    }
}

impl Connection {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.write_all(bytes),
            Self::Plain(socket) => socket.write_all(bytes),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tls(stream) => stream.read(buffer),
            Self::Plain(socket) => socket.read(buffer),
        }
    }

    /// Asks for this many bytes and takes them all.
    pub(crate) fn get(&mut self, bytes: usize, buffer: &mut Buffer) -> Result<()> {
        self.write_all(&target::request("GET", bytes))?;
        self.take(bytes, buffer)
    }

    /// Sends this many bytes, and takes the answer.
    pub(crate) fn put(&mut self, bytes: usize, buffer: &mut Buffer) -> Result<()> {
        self.write_all(&target::request("PUT", bytes))?;
        let mut missing = bytes;
        while missing > 0 {
            let part = missing.min(buffer.0.len());
            self.write_all(buffer.0.get(..part).unwrap_or_default())?;
            missing -= part;
        }
        self.take(0, buffer)
    }

    fn take(&mut self, bytes: usize, buffer: &mut Buffer) -> Result<()> {
        let mut missing = target::head(bytes).len() + bytes;
        while missing > 0 {
            let read = self.read(&mut buffer.0)?;
            ensure!(read > 0, "the answer ended {missing} bytes early");
            ensure!(read <= missing, "the answer is too long");
            missing -= read;
        }
        Ok(())
    }

    /// Ends it in order: close_notify, FIN, and everything that the other side still says.
    pub(crate) fn close(self, buffer: &mut Buffer) -> Result<()> {
        let mut socket = match self {
            Self::Tls(mut stream) => {
                stream.conn.send_close_notify();
                stream.flush()?;
                stream.sock
            }
            Self::Plain(socket) => socket,
        };
        socket.shutdown(Shutdown::Write)?;
        // The content no longer matters, nor whether the other side was quicker to close.
        while matches!(socket.read(&mut buffer.0), Ok(1..)) {}
        Ok(())
    }

    /// What was agreed on, once the handshake is done, and the session tickets that came so far.
    pub(crate) fn agreed(&self) -> (String, u32) {
        let Self::Tls(stream) = self else {
            return ("no TLS".to_owned(), 0);
        };
        let tls = &stream.conn;
        let version = tls.protocol_version();
        let suite = tls.negotiated_cipher_suite().map(|suite| suite.suite());
        let group = tls
            .negotiated_key_exchange_group()
            .map(|group| group.name());
        let terms = match (version, suite, group) {
            (Some(version), Some(suite), Some(group)) => format!("{version:?} {suite:?} {group:?}"),
            _ => "nothing".to_owned(),
        };
        (terms, tls.tls13_tickets_received())
    }
}

/// Fails if the relay lets this client have so much as a byte of the target.
pub(crate) fn refused(client: &Client, address: SocketAddr) -> Result<()> {
    let mut connection = client.open(address)?;
    let mut byte = [0];
    let asked = connection.write_all(&target::request("GET", 100));
    match asked.and_then(|()| connection.read(&mut byte)) {
        Ok(0) | Err(_) => Ok(()),
        Ok(_) => bail!("{address} answered a client that it had to refuse"),
    }
}

/// Runs the work on this many threads, again and again until the time is over; what it returns adds up.
pub(crate) fn repeat<S>(
    threads: usize,
    time: Duration,
    start: impl Fn() -> Result<S> + Sync,
    work: impl Fn(&mut S, &mut Buffer) -> Result<u64> + Sync,
    end: impl Fn(S, &mut Buffer) -> Result<()> + Sync,
) -> Result<u64> {
    let until = Instant::now() + time;
    let one = || -> Result<u64> {
        let mut buffer = Buffer::new();
        let mut state = start()?;
        let mut done = 0;
        while Instant::now() < until {
            done += work(&mut state, &mut buffer)?;
        }
        end(state, &mut buffer)?;
        Ok(done)
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        let mut total = 0;
        for thread in running {
            match thread.join() {
                Ok(done) => total += done?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(total)
    })
}
