//! The certificates of a run: one CA, a server, a client, and a stranger. All keys are ECDSA P-256 and lie in a folder
//! that goes with the run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The name of the server.
pub(crate) const SERVER: &str = "portcullis.internal";
/// The name of the client that is let in.
pub(crate) const CLIENT: &str = "prometheus.monitoring.svc";

/// What a client shows.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Identity {
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }
}

/// Everything that a run needs.
pub(crate) struct Pki {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    pub(crate) root: CertificateDer<'static>,
    pub(crate) client: Identity,
    pub(crate) stranger: Identity,
}

impl Pki {
    /// Makes it in this folder.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let (issuer, root, root_pem) = authority("bench CA")?;
        let (other, _, _) = authority("another CA")?;
        let (server, server_chain) = leaf(&issuer, SERVER, ExtendedKeyUsagePurpose::ServerAuth)?;
        let (client, client_chain) = leaf(&issuer, CLIENT, ExtendedKeyUsagePurpose::ClientAuth)?;
        let (stranger, stranger_chain) = leaf(&other, CLIENT, ExtendedKeyUsagePurpose::ClientAuth)?;
        let pki = Self {
            folder: folder.to_owned(),
            issuer,
            root,
            client: Identity {
                chain: vec![client_chain.der().clone()],
                key: client.serialize_der(),
            },
            stranger: Identity {
                chain: vec![stranger_chain.der().clone()],
                key: stranger.serialize_der(),
            },
        };
        fs::write(pki.ca(), root_pem)?;
        fs::write(pki.cert(), server_chain.pem())?;
        fs::write(pki.key(), server.serialize_pem())?;
        let both = format!("{}{}", server_chain.pem(), server.serialize_pem());
        fs::write(pki.cert_and_key(), both)?;
        Ok(pki)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    pub(crate) fn cert(&self) -> PathBuf {
        self.folder.join("tls.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.join("tls.key")
    }

    /// Both in one file, as HAProxy and hitch want them.
    pub(crate) fn cert_and_key(&self) -> PathBuf {
        self.folder.join("tls.pem")
    }

    /// A revocation list with this many serials, none of them the client's.
    pub(crate) fn revoke(&self, serials: u64) -> Result<PathBuf> {
        let revoked = |serial: u64| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial_bytes(serial)),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: (0..serials).map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.folder.join(format!("revoked-{serials}.crl"));
        fs::write(&path, list.signed_by(&self.issuer)?.pem()?)?;
        Ok(path)
    }
}

/// As long as serials in the field, and never one that rcgen makes at random: those are 20 bytes.
fn serial_bytes(serial: u64) -> [u8; 16] {
    let mut bytes = [0x5a; 16];
    bytes[8..].copy_from_slice(&serial.to_be_bytes());
    bytes
}

type Root = (Issuer<'static, KeyPair>, CertificateDer<'static>, String);

fn authority(name: &str) -> Result<Root> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let der = certificate.der().clone();
    Ok((Issuer::new(params, key), der, certificate.pem()))
}

fn leaf(
    issuer: &Issuer<'static, KeyPair>,
    name: &str,
    purpose: ExtendedKeyUsagePurpose,
) -> Result<(KeyPair, rcgen::Certificate)> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
    params.extended_key_usages = vec![purpose];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    Ok((key, certificate))
}
