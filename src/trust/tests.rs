//! Certificates and revocation lists made in memory, for the tests of this folder.

use std::time::{Duration, SystemTime};

use clap::{Command, FromArgMatches as _};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;

use crate::config::{Config, Flags};

/// A CA and its key.
pub(crate) struct Ca(pub(crate) CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(crate) struct Issued {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        Self::from(ca_params(name))
    }

    pub(crate) fn from(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// An intermediate below this one.
    pub(crate) fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::signed_by(params, key, &self.0).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued {
            der: certificate.der().clone(),
            cert: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn server(&self) -> Issued {
        self.issue(&leaf_params("gate", ExtendedKeyUsagePurpose::ServerAuth))
    }

    pub(crate) fn client(&self, name: &str) -> Issued {
        self.issue(&leaf_params(name, ExtendedKeyUsagePurpose::ClientAuth))
    }

    /// A revocation list that goes stale at `next_update`.
    pub(crate) fn list(&self, serials: &[u64], next_update: SystemTime) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: SystemTime::now().into(),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: (next_update - DAY).into(),
            next_update: next_update.into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(crate) fn leaf_params(name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
    params.extended_key_usages = vec![usage];
    params
}

/// The flags of a command line.
pub(crate) fn flags(arguments: &[&str]) -> Flags {
    let command = <Flags as clap::Args>::augment_args(Command::new("gate"));
    let matches = command.try_get_matches_from(["gate"].iter().chain(arguments));
    Flags::from_arg_matches(&matches.unwrap()).unwrap()
}

/// A configuration that lets in `client` and names no file that there is, and what more these flags say.
pub(crate) fn config(more: &[&str]) -> Config {
    let base = [
        "--cert",
        "crt",
        "--key",
        "key",
        "--client-ca",
        "ca",
        "--allow-dns",
        "client",
    ];
    Config::parse(&flags(&[&base, more].concat())).unwrap()
}
