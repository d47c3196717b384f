//! A TLS server for one connection on a loopback port, which answers or fails as it is told.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::cli::pki::authority::{Authority, Issued, Names, Purpose};
use crate::cli::pki::lifetime::lifetime;
use crate::cli::scrape::{ClientFiles, Credentials, Refusal, Request, get};
use crate::config::Place;
use crate::trust::load::Content;

/// What happens once a connection is there.
pub(super) enum Reply {
    /// After TLS: these bytes, then a proper end.
    Whole(&'static str),
    /// After TLS: these bytes, then the end of the stream without close_notify.
    Cut(&'static str),
    /// After TLS and the request: a reset.
    Reset,
    /// After TLS and the request: nothing, until the client leaves.
    Silence,
    /// Instead of TLS: these bytes, then the end.
    Plain(&'static str),
    /// Instead of TLS: a reset.
    PlainReset,
    /// Instead of TLS: nothing, until the client leaves.
    PlainSilence,
}

/// A CA, a server and a client of it, and how both sides are set up.
pub(super) struct Scene {
    pub(super) ca: Authority,
    pub(super) server: Issued,
    /// Presented if there.
    pub(super) client: Option<Issued>,
    /// The CA that the client trusts.
    pub(super) trusted: String,
    pub(super) server_versions: Vec<&'static SupportedProtocolVersion>,
    pub(super) client_versions: Vec<&'static SupportedProtocolVersion>,
    pub(super) revocation_list: Option<String>,
    /// Whether the server's rules name the client.
    pub(super) allowed: bool,
    pub(super) listen: &'static str,
    pub(super) server_name: Option<&'static str>,
    pub(super) timeout: Duration,
}

/// An answer, and the request that it was to.
pub(super) struct Scraped {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    pub(super) tls: crate::cli::scrape::TlsFacts,
    pub(super) request: String,
    pub(super) refusal: Option<Refusal>,
}

pub(super) fn authority(name: &str) -> Authority {
    Authority::new(name, lifetime(UnixTime::now(), 1)).unwrap()
}

pub(super) fn issue(ca: &Authority, purpose: Purpose) -> Issued {
    let names = Names {
        dns: vec!["server.test".to_owned()],
        ips: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        ..Names::default()
    };
    ca.issue(purpose, &names, lifetime(UnixTime::now(), 1))
        .unwrap()
}

/// The same, but its end was a minute ago.
pub(super) fn issue_expired(ca: &Authority, purpose: Purpose) -> Issued {
    let minute_ago = Duration::from_secs(UnixTime::now().as_secs() - 60);
    let mut validity = lifetime(UnixTime::now(), 1);
    validity.not_after = UnixTime::since_unix_epoch(minute_ago);
    let names = Names {
        ips: vec!["127.0.0.1".parse().unwrap()],
        ..Names::default()
    };
    ca.issue(purpose, &names, validity).unwrap()
}

/// A file that was never on disk.
pub(super) fn content(flag: &'static str, text: &str) -> Content {
    let bytes = text.as_bytes().to_vec().into();
    Content::new(Place::Flag(flag), "file".into(), bytes)
}

impl Scene {
    /// All is well.
    pub(super) fn new() -> Self {
        let ca = authority("test CA");
        Self {
            server: issue(&ca, Purpose::Server),
            client: Some(issue(&ca, Purpose::Client)),
            trusted: ca.cert_pem().to_owned(),
            ca,
            server_versions: rustls::ALL_VERSIONS.to_vec(),
            client_versions: rustls::ALL_VERSIONS.to_vec(),
            revocation_list: None,
            allowed: true,
            listen: "127.0.0.1:0",
            server_name: None,
            timeout: Duration::from_secs(10),
        }
    }

    /// One scrape of `path` with the server beside it.
    pub(super) async fn scrape(&self, path: &str, reply: Reply) -> Result<Scraped, Refusal> {
        let (listener, request) = self.request(path).await;
        let client = async {
            let mut response = get(&request).await?;
            let (status, tls) = (response.status, response.tls.clone());
            let refusal = response.refusal();
            let mut body = Vec::new();
            while let Some(bytes) = response.chunk().await? {
                body.extend_from_slice(&bytes);
            }
            Ok((status, tls, body, refusal))
        };
        let (asked, answer) = tokio::join!(self.serve(listener, reply), client);
        let (status, tls, body, refusal) = answer?;
        Ok(Scraped {
            status,
            body,
            tls,
            request: asked,
            refusal,
        })
    }

    /// One scrape whose body is held in memory.
    pub(super) async fn hold(&self, reply: Reply, limit: usize) -> Result<Vec<u8>, Refusal> {
        let (listener, request) = self.request("/").await;
        let client = async { get(&request).await?.body(limit).await };
        let (_, body) = tokio::join!(self.serve(listener, reply), client);
        body
    }

    async fn request(&self, path: &str) -> (TcpListener, Request) {
        let listener = TcpListener::bind(self.listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let name = self.server_name.map(str::to_owned);
        let request = Request {
            url: format!("https://{address}{path}").parse().unwrap(),
            credentials: self.credentials(),
            server_name: name.map(|name| name.try_into().unwrap()),
            timeout: self.timeout,
        };
        (listener, request)
    }

    pub(super) fn credentials(&self) -> Credentials {
        let client = self.client.as_ref().map(|client| ClientFiles {
            cert: content("--cert", &client.cert_pem),
            key: content("--key", &client.key_pem),
        });
        let ca = content("--ca", &self.trusted);
        Credentials::with_versions(&ca, client.as_ref(), &self.client_versions).unwrap()
    }

    /// Serves one connection and returns the request, if it came to one.
    async fn serve(&self, listener: TcpListener, reply: Reply) -> String {
        let (socket, _) = listener.accept().await.unwrap();
        match reply {
            Reply::Plain(bytes) => return end(socket, bytes).await,
            Reply::PlainSilence => return end_after(socket).await,
            Reply::PlainReset => {
                // The client is past connecting once it has said something.
                socket.readable().await.unwrap();
                return reset(socket);
            }
            Reply::Whole(_) | Reply::Cut(_) | Reply::Reset | Reply::Silence => {}
        }
        let accepted = TlsAcceptor::from(self.config())
            .accept(socket)
            .into_fallible();
        let mut stream = match accepted.await {
            Ok(stream) => stream,
            // The alert is on its way; a reset must not overtake it.
            Err((_, socket)) => return end(socket, "").await,
        };
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => asked.push(byte),
                Err(_) => return String::new(),
            }
        }
        let asked = String::from_utf8(asked).unwrap();
        match reply {
            Reply::Whole(bytes) => {
                stream.write_all(bytes.as_bytes()).await.unwrap();
                stream.shutdown().await.ok();
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.ok();
            }
            Reply::Cut(bytes) => {
                stream.write_all(bytes.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                end(stream.into_inner().0, "").await;
            }
            Reply::Reset => drop(reset(stream.into_inner().0)),
            Reply::Silence => drop(end_after(stream.into_inner().0).await),
            Reply::Plain(_) | Reply::PlainReset | Reply::PlainSilence => {}
        }
        asked
    }

    fn config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.certificate().clone()).unwrap();
        let lists = self
            .revocation_list
            .iter()
            .map(|pem| CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap());
        let webpki =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .with_crls(lists)
                .build()
                .unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.server.key_pem.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.server_versions)
            .unwrap()
            .with_client_cert_verifier(Arc::new(Judge {
                webpki,
                allowed: self.allowed,
            }))
            .with_single_cert(vec![self.server.certificate.clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

/// Says these bytes and ends, then waits for the client to leave.
async fn end(mut socket: TcpStream, bytes: &str) -> String {
    socket.write_all(bytes.as_bytes()).await.unwrap();
    socket.shutdown().await.ok();
    end_after(socket).await
}

async fn end_after(mut socket: TcpStream) -> String {
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.ok();
    String::new()
}

fn reset(socket: TcpStream) -> String {
    socket.set_zero_linger().unwrap();
    String::new()
}

/// webpki's verdict, then a rule's, as the gate has it.
#[derive(Debug)]
struct Judge {
    webpki: Arc<dyn ClientCertVerifier>,
    allowed: bool,
}

impl ClientCertVerifier for Judge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.webpki.verify_client_cert(leaf, chain, now)?;
        match self.allowed {
            true => Ok(verified),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}
