//! As much HTTP/1.1 as a test needs, written out, so that a test can also say what no client library would.

use std::io::{Read, Write};

use socket2::{Domain, SockAddr, Socket, Type};

use super::target::patient;

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    /// Parses all bytes of one answer whose end is the end of the connection.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let chunked = headers.contains(&("transfer-encoding".to_owned(), "chunked".to_owned()));
        Self {
            status: status.and_then(|s| s.parse().ok()).expect("a status line"),
            headers,
            body: if chunked {
                unchunk(body)
            } else {
                body.to_owned()
            },
        }
    }
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, chunk)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        body.push_str(&chunk[..size]);
        rest = chunk[size..].trim_start_matches("\r\n");
    }
    body
}

/// GETs a path; `address` is `IP:PORT` or `unix:/path`.
pub(crate) fn get(address: &str, path: &str) -> Response {
    request(address, "GET", path, &[])
}

/// Sends any request without a body.
pub(crate) fn request(address: &str, method: &str, path: &str, headers: &[&str]) -> Response {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    Response::parse(&exchange(address, text.as_bytes()))
}

/// Sends bytes and returns all that comes back.
pub(crate) fn exchange(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut socket = connect(address);
    socket.write_all(bytes).expect("the listener reads");
    let mut answer = Vec::new();
    socket
        .read_to_end(&mut answer)
        .expect("the listener answers");
    answer
}

/// Sends bytes that deserve no answer, ends, and waits for the listener to end as well, in whatever way.
pub(crate) fn babble(address: &str, bytes: &[u8]) {
    let mut socket = connect(address);
    drop(socket.write_all(bytes));
    drop(socket.shutdown(std::net::Shutdown::Write));
    drop(socket.read_to_end(&mut Vec::new()));
}

fn connect(address: &str) -> Socket {
    let (domain, address) = match address.strip_prefix("unix:") {
        Some(path) => (Domain::UNIX, SockAddr::unix(path).expect("a short path")),
        None => {
            let address: std::net::SocketAddr = address.parse().expect("IP:PORT");
            (Domain::for_address(address), address.into())
        }
    };
    let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
    patient(&socket);
    socket.connect(&address).expect("the listener accepts");
    socket
}

/// Samples of the text exposition format.
#[derive(Debug)]
pub(crate) struct Metrics(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Parses what `/metrics` answers; panics at a line that is no sample.
    pub(crate) fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        Self(samples.map(Sample::parse).collect())
    }

    /// The sum of all samples with this name and at least these labels; zero if there are none.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let matching = self.0.iter().filter(|sample| sample.matches(name, labels));
        matching.map(|sample| sample.value).sum()
    }

    /// True if there is a sample with this name and at least these labels.
    pub(crate) fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.0.iter().any(|sample| sample.matches(name, labels))
    }

    /// Every label value there is, of this label.
    pub(crate) fn label_values(&self, label: &str) -> Vec<&str> {
        let labels = self.0.iter().flat_map(|sample| &sample.labels);
        labels
            .filter(|(name, _)| name == label)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// How many connections ended with an outcome, on all routes.
    pub(crate) fn closed(&self, outcome: &str) -> f64 {
        self.value(
            "portcullis_connections_closed_total",
            &[("outcome", outcome)],
        )
    }

    /// How many connections are open, on all routes.
    pub(crate) fn open(&self) -> f64 {
        self.value("portcullis_connections_open", &[])
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').expect("a series and its value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split("\",");
        Self {
            name: name.to_owned(),
            labels: labels
                .filter_map(|label| label.split_once("=\""))
                .map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned()))
                .collect(),
            value: value.parse().expect("a number"),
        }
    }

    fn matches(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.name == name
            && labels.iter().all(|(name, value)| {
                let mut own = self.labels.iter();
                own.any(|(own_name, own_value)| own_name == name && own_value == value)
            })
    }
}
