//! Targets: what stands behind the gate. Each counts the connections it accepted, which is how a test proves that
//! nobody was let in: zero accepts, not zero bytes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::{PATIENCE, eventually};

/// A listener whose connections are talked to by one function, a thread each.
pub(crate) struct Target<T = ()> {
    address: Address,
    listener: Socket,
    accepts: Arc<AtomicUsize>,
    results: Receiver<T>,
    hold: Hold,
}

#[derive(Clone)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// How one direction of a connection ended, as the target saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// An orderly end of stream.
    Clean,
    /// A reset.
    Reset,
}

impl<T: Send + 'static> Target<T> {
    /// Listens on TCP loopback; what `talk` returns can be fetched with [`Target::result`].
    pub(crate) fn serving(talk: impl Fn(Socket, &Hold) -> T + Send + Sync + 'static) -> Self {
        Self::serving_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), talk)
    }

    /// The same at an address of its own.
    pub(crate) fn serving_at(
        address: SocketAddr,
        talk: impl Fn(Socket, &Hold) -> T + Send + Sync + 'static,
    ) -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener
            .bind(&address.into())
            .expect("loopback can be bound");
        let address = listener.local_addr().expect("it is bound").as_socket();
        Self::listening(listener, Address::Tcp(address.expect("it is TCP")), talk)
    }

    /// Listens on a Unix socket.
    pub(crate) fn serving_unix(
        path: &Path,
        talk: impl Fn(Socket, &Hold) -> T + Send + Sync + 'static,
    ) -> Self {
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        listener
            .bind(&SockAddr::unix(path).expect("a short path"))
            .expect("the path is free");
        Self::listening(listener, Address::Unix(path.to_owned()), talk)
    }

    fn listening(
        listener: Socket,
        address: Address,
        talk: impl Fn(Socket, &Hold) -> T + Send + Sync + 'static,
    ) -> Self {
        listener.listen(1024).expect("a bound socket can listen");
        let accepts = Arc::new(AtomicUsize::new(0));
        let (sender, results) = channel();
        let hold = Hold::default();
        let acceptor = Acceptor {
            listener: listener.try_clone().expect("a descriptor is left"),
            accepts: Arc::clone(&accepts),
            hold: hold.clone(),
            results: sender,
            talk: Arc::new(talk),
        };
        std::thread::spawn(move || acceptor.run());
        Self {
            address,
            listener,
            accepts,
            results,
            hold,
        }
    }

    /// What one connection came to, in the order they ended.
    pub(crate) fn result(&self) -> T {
        self.results
            .recv_timeout(PATIENCE)
            .expect("a connection should have ended at the target")
    }
}

impl<T> Target<T> {
    /// The value of `--target`.
    pub(crate) fn flag(&self) -> String {
        match &self.address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// How many connections were accepted so far.
    pub(crate) fn accepts(&self) -> usize {
        self.accepts.load(Ordering::SeqCst)
    }

    /// Returns once that many connections were accepted.
    pub(crate) fn wait_for_accepts(&self, count: usize) {
        eventually(&format!("{count} connections at the target"), || {
            (self.accepts() >= count).then_some(())
        });
    }
}

impl<T> Drop for Target<T> {
    fn drop(&mut self) {
        self.hold.release();
        // Wakes the acceptor; a target that is gone already does not mind.
        drop(self.listener.shutdown(Shutdown::Both));
    }
}

struct Acceptor<T, F> {
    listener: Socket,
    accepts: Arc<AtomicUsize>,
    hold: Hold,
    results: Sender<T>,
    talk: Arc<F>,
}

impl<T: Send + 'static, F: Fn(Socket, &Hold) -> T + Send + Sync + 'static> Acceptor<T, F> {
    fn run(self) {
        while let Ok((socket, _)) = self.listener.accept() {
            self.accepts.fetch_add(1, Ordering::SeqCst);
            patient(&socket);
            let (talk, hold, results) = (
                Arc::clone(&self.talk),
                self.hold.clone(),
                self.results.clone(),
            );
            // Nobody may be interested in the result any more.
            std::thread::spawn(move || drop(results.send(talk(socket, &hold))));
        }
    }
}

/// Lets a target keep a connection as it is until the test is over.
#[derive(Clone, Default)]
pub(crate) struct Hold(Arc<(Mutex<bool>, Condvar)>);

impl Hold {
    /// Returns when the target is dropped.
    pub(crate) fn wait(&self) {
        let (released, changed) = &*self.0;
        let guard = released.lock().expect("no holder panics");
        drop(changed.wait_while(guard, |released| !*released));
    }

    fn release(&self) {
        let (released, changed) = &*self.0;
        *released.lock().expect("no holder panics") = true;
        changed.notify_all();
    }
}

/// No read or write of a test blocks for ever.
pub(crate) fn patient(socket: &Socket) {
    socket.set_read_timeout(Some(PATIENCE)).expect("a duration");
    socket
        .set_write_timeout(Some(PATIENCE))
        .expect("a duration");
}

/// Ends a connection with a reset.
pub(crate) fn reset(socket: Socket) {
    socket
        .set_linger(Some(Duration::ZERO))
        .expect("lingering can be set");
    drop(socket);
}

/// Reads until the other side ends, and says how it did.
pub(crate) fn read_to_end(mut socket: &Socket) -> (Vec<u8>, Ended) {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return (bytes, Ended::Clean),
            Ok(len) => bytes.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return (bytes, Ended::Reset);
            }
            Err(error) => panic!("the target cannot read: {error}"),
        }
    }
}

/// Sends back what comes, then ends when the other side has.
pub(crate) fn echo() -> Target<Ended> {
    Target::serving(|socket, _| echo_until_end(&socket))
}

/// What [`echo`] does with one connection.
pub(crate) fn echo_until_end(socket: &Socket) -> Ended {
    let (mut from, mut to) = (socket, socket);
    match std::io::copy(&mut from, &mut to) {
        Ok(_) => {
            drop(socket.shutdown(Shutdown::Write));
            Ended::Clean
        }
        Err(_) => Ended::Reset,
    }
}

/// Takes everything in and reports it.
pub(crate) fn sink() -> Target<(Vec<u8>, Ended)> {
    Target::serving(|socket, _| read_to_end(&socket))
}

/// Sends these bytes, waits until the gate has them, and resets.
pub(crate) fn resets_after(bytes: Vec<u8>) -> Target<()> {
    Target::serving(move |socket, _| {
        let mut stream = &socket;
        stream.write_all(&bytes).expect("the gate reads");
        // The client says that it got them; a reset may discard what is still in flight.
        let mut receipt = [0; 1];
        stream.read_exact(&mut receipt).expect("a receipt");
        reset(socket);
    })
}

/// Accepts, says and reads nothing, and stays.
pub(crate) fn mute() -> Target<()> {
    Target::serving(|socket, hold| {
        hold.wait();
        drop(socket);
    })
}

/// The body that [`exporter`] serves.
pub(crate) const EXPOSITION: &str =
    "# HELP sample_up Whether the sample is up.\n# TYPE sample_up gauge\nsample_up 1\n";

/// Answers every HTTP request with [`EXPOSITION`].
pub(crate) fn exporter() -> Target<()> {
    Target::serving(|socket, _| answer_requests(&socket))
}

fn answer_requests(socket: &Socket) {
    answer(socket, |_| Some(EXPOSITION.to_owned()));
}

/// Answers the HTTP requests of one connection with the body for their path, or with 404.
pub(crate) fn answer(socket: &Socket, body: impl Fn(&str) -> Option<String>) {
    let mut stream = socket;
    let mut request = Vec::new();
    let mut byte = [0; 1];
    while stream.read_exact(&mut byte).is_ok() {
        request.push(byte[0]);
        if request.ends_with(b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&request);
            let close = text.to_ascii_lowercase().contains("connection: close");
            let (status, body) = match body(text.split(' ').nth(1).unwrap_or_default()) {
                Some(body) => ("200 OK", body),
                None => ("404 Not Found", String::new()),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            if stream.write_all(answer.as_bytes()).is_err() || close {
                return;
            }
            request.clear();
        }
    }
}

/// A loopback port that is taken and where nobody listens: connecting is refused, for as long as this lives.
pub(crate) struct Nobody(Socket);

impl Nobody {
    /// Takes a free port.
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .expect("loopback can be bound");
        Self(socket)
    }

    /// Where nobody listens.
    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.0.local_addr().expect("it is bound");
        address.as_socket().expect("it is TCP")
    }
}
