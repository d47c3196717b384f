//! The client side: TLS with a client certificate, one suite, one group, no resumption, over blocking sockets; or the
//! same requests without TLS.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

use crate::pki::{Identity, Pki, SERVER};
use crate::target;

/// No single read or write may take longer.
const PATIENCE: Duration = Duration::from_secs(20);
const CHUNK: usize = 256 << 10;
/// Bytes of content in one TLS record at most (RFC 8446 section 5.1).
const RECORD: usize = 16 << 10;

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
        let tls = match &self.config {
            Some(config) => {
                let name = ServerName::try_from(SERVER)?;
                Some(Box::new(ClientConnection::new(Arc::clone(config), name)?))
            }
            None => None,
        };
        Ok(Connection { tls, socket })
    }
}

/// One connection, through a relay or straight to the target.
pub(crate) struct Connection {
    tls: Option<Box<ClientConnection>>,
    socket: TcpStream,
}

/// Room for what is read, so that no connection has to own it.
pub(crate) struct Buffer {
    wire: Vec<u8>,
    plain: Vec<u8>,
}

impl Buffer {
    pub(crate) fn new() -> Self {
        Self {
            wire: vec![0; CHUNK],
            plain: vec![0; RECORD],
        }
    }
}

impl Connection {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => Stream::new(&mut **tls, &mut self.socket).write_all(bytes),
            None => self.socket.write_all(bytes),
        }
    }

    /// Returns how many bytes of content came, and when the first of them could be used; none at the end. What there
    /// is leaves the socket at once: rustls by itself asks the kernel for 4 KiB a time, and how often a relay is woken
    /// would then be the client's doing.
    fn read(&mut self, buffer: &mut Buffer) -> Result<(usize, Option<Instant>)> {
        let Buffer { wire, plain } = buffer;
        loop {
            let read = self.socket.read(wire)?;
            let Some(tls) = &mut self.tls else {
                return Ok((read, (read > 0).then(Instant::now)));
            };
            let mut content = 0;
            let mut first = None;
            let mut left = wire.get(..read).unwrap_or_default();
            while !left.is_empty() && tls.read_tls(&mut left)? > 0 {
                let mut ready = tls.process_new_packets()?.plaintext_bytes_to_read();
                if ready > 0 {
                    first.get_or_insert_with(Instant::now);
                }
                content += ready;
                while ready > 0 {
                    ready -= tls.reader().read(plain)?;
                }
            }
            if content > 0 || read == 0 {
                return Ok((content, first));
            }
        }
    }

    /// Asks for this many bytes and takes them all. Returns when the first of them could be used.
    pub(crate) fn get(&mut self, bytes: usize, buffer: &mut Buffer) -> Result<Instant> {
        self.write_all(&target::request("GET", bytes))?;
        self.take(bytes, buffer)
    }

    /// Sends this many bytes, and takes the answer.
    pub(crate) fn put(&mut self, bytes: usize, buffer: &mut Buffer) -> Result<()> {
        self.write_all(&target::request("PUT", bytes))?;
        let mut missing = bytes;
        while missing > 0 {
            let part = missing.min(buffer.wire.len());
            self.write_all(buffer.wire.get(..part).unwrap_or_default())?;
            missing -= part;
        }
        self.take(0, buffer)?;
        Ok(())
    }

    fn take(&mut self, bytes: usize, buffer: &mut Buffer) -> Result<Instant> {
        let mut missing = target::head(bytes).len() + bytes;
        let mut first = None;
        while missing > 0 {
            let (read, since) = self.read(buffer)?;
            ensure!(read > 0, "the answer ended {missing} bytes early");
            ensure!(read <= missing, "the answer is too long");
            missing -= read;
            first = first.or(since);
        }
        first.context("an answer without a byte")
    }

    /// Ends it in order: close_notify, FIN, and everything that the other side still says.
    pub(crate) fn close(mut self, buffer: &mut Buffer) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            Stream::new(&mut **tls, &mut self.socket).flush()?;
        }
        match self.socket.shutdown(Shutdown::Write) {
            // It is gone already: the answer was taken before.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
            ended => ended?,
        }
        // The content no longer matters, nor whether the other side was quicker to close.
        while matches!(self.socket.read(&mut buffer.wire), Ok(1..)) {}
        Ok(())
    }

    /// What was agreed on, once the handshake is done, and the session tickets that came so far.
    pub(crate) fn agreed(&self) -> (String, u32) {
        let Some(tls) = &self.tls else {
            return ("no TLS".to_owned(), 0);
        };
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
    let asked = connection.write_all(&target::request("GET", 100));
    let answered = asked.is_ok() && matches!(connection.read(&mut Buffer::new()), Ok((1.., _)));
    ensure!(
        !answered,
        "{address} answered a client that it had to refuse"
    );
    Ok(())
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
