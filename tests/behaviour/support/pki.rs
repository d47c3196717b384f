//! Certificates: good ones from `portcullis pki`, so that the generator is tested by every test, and hostile ones
//! that no good generator would make, from rcgen. All keys live in a temporary folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
    SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::gate::portcullis;
use super::peers::openssl;
use super::sha256;

/// The name that every server certificate here has, whatever address it is reached at.
pub(crate) const SERVER_NAME: &str = "portcullis.internal";

/// A development PKI as a newcomer would make it.
pub(crate) struct Pki {
    folder: TempDir,
    authority: Authority,
    issuing: Mutex<()>,
}

impl Pki {
    /// The PKI of all tests that run now; the folder goes with the last of them.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Pki>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let pki = Arc::new(Self::init());
            *shared = Arc::downgrade(&pki);
            pki
        })
    }

    fn init() -> Self {
        let folder = temporary_folder();
        succeed(pki(&["init", "--dir"]).arg(folder.path()));
        let mut issue = pki(&["issue", "server", "portcullis", "--dir"]);
        issue.arg(folder.path());
        succeed(issue.args([
            "--dns",
            SERVER_NAME,
            "--dns",
            "localhost",
            "--ip",
            "127.0.0.1",
        ]));
        let read = |name| std::fs::read_to_string(folder.path().join(name)).expect("it was made");
        let authority = Authority::from_pem(&read("ca.crt"), &read("ca.key"));
        Self {
            folder,
            authority,
            issuing: Mutex::new(()),
        }
    }

    /// Where everything lies.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The certificate of the CA.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder().join("ca.crt")
    }

    /// The CA itself, to sign what `portcullis pki` would not.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The server's certificate.
    pub(crate) fn server(&self) -> Credentials {
        self.issued("server", "portcullis")
    }

    /// A client certificate of this name with the DNS SAN `NAME.test`; made once.
    pub(crate) fn client(&self, name: &str) -> Credentials {
        let _one_at_a_time = self.issuing.lock().unwrap_or_else(PoisonError::into_inner);
        let credentials = self.issued("client", name);
        if !credentials.folder.exists() {
            let mut issue = pki(&["issue", "client", name, "--dir"]);
            issue.arg(self.folder());
            succeed(issue.args(["--dns", &format!("{name}.test")]));
        }
        credentials
    }

    /// Where `portcullis pki issue` puts what it makes.
    fn issued(&self, _role: &str, name: &str) -> Credentials {
        Credentials::at(self.folder().join(name))
    }

    /// A client certificate of the development CA that nobody would issue by accident.
    pub(crate) fn forge(&self, params: &CertificateParams) -> Credentials {
        self.forge_with(params, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// The same, with a key of this kind.
    pub(crate) fn forge_with(
        &self,
        params: &CertificateParams,
        algorithm: &'static SignatureAlgorithm,
    ) -> Credentials {
        let key = if algorithm == &rcgen::PKCS_ED25519 {
            // rcgen writes a form (RFC 5958 with the public key) that OpenSSL 3.0 does not read.
            KeyPair::from_pem(&openssl(&["genpkey", "-algorithm", "ed25519"])).expect("a key")
        } else {
            KeyPair::generate_for(algorithm).expect("a key")
        };
        let leaf = self.authority.sign(params, &key);
        self.store(&[&leaf], &key)
    }

    /// Writes a chain, leaf first, and its key into a folder of their own.
    pub(crate) fn store(&self, chain: &[&Certificate], key: &KeyPair) -> Credentials {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("forged-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let credentials = Credentials::at(self.folder().join(name));
        std::fs::create_dir(&credentials.folder).expect("the folder is new");
        let chain: String = chain.iter().map(|certificate| certificate.pem()).collect();
        write(&credentials.cert(), &chain);
        write(&credentials.key(), &key.serialize_pem());
        write(&credentials.ca(), &self.authority.pem);
        credentials
    }
}

/// A folder that goes when it is dropped; its path is short enough for a Unix socket.
pub(crate) fn temporary_folder() -> TempDir {
    tempfile::tempdir().expect("the temporary folder can be written")
}

/// Writes a file of a test.
pub(crate) fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// `portcullis pki …`.
pub(crate) fn pki(arguments: &[&str]) -> Command {
    let mut command = portcullis();
    command.arg("pki").args(arguments);
    command
}

fn succeed(command: &mut Command) {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// A certificate chain and its key, as files in a folder that looks like a mounted Kubernetes Secret.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    folder: PathBuf,
}

impl Credentials {
    /// Those in this folder.
    pub(crate) fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The chain, leaf first.
    pub(crate) fn cert(&self) -> PathBuf {
        self.folder.join("tls.crt")
    }

    /// The key of the leaf.
    pub(crate) fn key(&self) -> PathBuf {
        self.folder.join("tls.key")
    }

    /// The CA that the other side's certificate must chain to.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }
}

/// A CA whose key the test has.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A self-signed root.
    pub(crate) fn root(name: &str) -> Self {
        Self::root_from(authority_params(name))
    }

    /// A self-signed root with parameters that may be odd.
    pub(crate) fn root_from(params: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("well-formed parameters");
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    fn from_pem(certificate: &str, key: &str) -> Self {
        let key = KeyPair::from_pem(key).expect("the CA's key is readable");
        Self {
            pem: certificate.to_owned(),
            issuer: Issuer::from_ca_cert_pem(certificate, key).expect("a CA certificate"),
        }
    }

    /// An intermediate CA below this one, and its certificate.
    pub(crate) fn intermediate(&self, params: CertificateParams) -> (Self, Certificate) {
        let key = KeyPair::generate().expect("a key");
        let certificate = self.sign(&params, &key);
        let authority = Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        };
        (authority, certificate)
    }

    /// Its subject, for those who would like to be mistaken for it.
    pub(crate) fn name(&self) -> DistinguishedName {
        let der = CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("a certificate");
        let (_, certificate) = X509Certificate::from_der(&der).expect("a certificate");
        let mut name = DistinguishedName::new();
        for attribute in certificate.subject().iter_common_name() {
            name.push(DnType::CommonName, attribute.as_str().expect("text"));
        }
        name
    }

    /// Signs a certificate.
    pub(crate) fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Certificate {
        params
            .signed_by(key, &self.issuer)
            .expect("well-formed parameters")
    }
}

/// Parameters of a CA.
pub(crate) fn authority_params(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Parameters of a blameless client certificate with these SANs.
pub(crate) fn client_params(sans: impl IntoIterator<Item = SanType>) -> CertificateParams {
    let mut params = named("a client");
    params.subject_alt_names = sans.into_iter().collect();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

/// Parameters of a blameless server certificate.
pub(crate) fn server_params() -> CertificateParams {
    let mut params = client_params([dns(SERVER_NAME)]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// Parameters with a common name and nothing else.
pub(crate) fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// The value of `--allow-spki` for a key.
pub(crate) fn spki_pin(key: &KeyPair) -> String {
    use base64::Engine as _;
    let digest = sha256(&key.subject_public_key_info());
    let base64 = base64::engine::general_purpose::STANDARD.encode(digest);
    format!("sha256:{base64}")
}

/// A DNS SAN.
pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("an IA5String"))
}

/// A URI SAN.
pub(crate) fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().expect("an IA5String"))
}

/// An e-mail SAN.
pub(crate) fn email(name: &str) -> SanType {
    SanType::Rfc822Name(name.try_into().expect("an IA5String"))
}

impl Authority {
    /// Signs a revocation list.
    pub(crate) fn sign_list(
        &self,
        params: &rcgen::CertificateRevocationListParams,
    ) -> rcgen::CertificateRevocationList {
        params
            .signed_by(&self.issuer)
            .expect("well-formed parameters")
    }
}
