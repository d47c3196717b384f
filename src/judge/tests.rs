//! Chains, lists and clocks in, verdicts out: the helpers, and the tests in the files below.

mod chains;
mod company;
mod ends;
mod limits;
mod lists;
mod memory;
mod nobody;
mod odd_lists;
mod words;

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};

use super::*;
use crate::craft::{self, Certificate, Extension, Key, NOW};
use crate::policy::{Admission, Allow, Rule};

/// So many seconds after [`NOW`].
fn at(seconds: i64) -> UnixTime {
    let seconds = u64::try_from(NOW + seconds).unwrap();
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

/// A CA with its key and its certificate.
struct Ca {
    name: &'static str,
    key: Key,
    der: Vec<u8>,
}

impl Ca {
    fn root(name: &'static str) -> Self {
        Self::made(name, Key::p256(), |certificate| certificate)
    }

    /// A root whose certificate is not quite the usual one.
    fn made(name: &'static str, key: Key, change: impl FnOnce(Certificate) -> Certificate) -> Self {
        let der = change(Certificate::ca(name, name, &key)).signed_by(&key);
        Self { name, key, der }
    }

    fn below(&self, name: &'static str) -> Self {
        self.below_made(name, |certificate| certificate)
    }

    fn below_made(
        &self,
        name: &'static str,
        change: impl FnOnce(Certificate) -> Certificate,
    ) -> Self {
        let key = Key::p256();
        let der = change(Certificate::ca(name, self.name, &key)).signed_by(&self.key);
        Self { name, key, der }
    }

    /// Another certificate about the same name and key.
    fn again(&self, change: impl FnOnce(Certificate) -> Certificate) -> Vec<u8> {
        change(Certificate::ca(self.name, self.name, &self.key)).signed_by(&self.key)
    }

    /// The same CA as another one vouches for it.
    fn crossed_by(&self, other: &Self) -> Vec<u8> {
        Certificate::ca(self.name, other.name, &self.key).signed_by(&other.key)
    }

    fn client(&self) -> Vec<u8> {
        self.client_made(|certificate| certificate)
    }

    fn client_made(&self, change: impl FnOnce(Certificate) -> Certificate) -> Vec<u8> {
        change(Certificate::client(self.name, &Key::p256())).signed_by(&self.key)
    }

    fn list(&self, revoked: &[u8]) -> Vec<u8> {
        craft::List::of(self.name, revoked).signed_by(&self.key)
    }
}

/// A bundle of these certificates, with these lists.
fn trust(bundle: &[&[u8]], lists: &[&[u8]]) -> Trust {
    trust_as(bundle, lists, StaleCrl::Refuse)
}

fn trust_as(bundle: &[&[u8]], lists: &[&[u8]], stale: StaleCrl) -> Trust {
    let entries = bundle
        .iter()
        .map(|der| Entry::read(CertificateDer::from(der.to_vec())).unwrap());
    let lists = lists.iter().map(|der| List::read(der.to_vec()).unwrap());
    Trust::new(
        Bundle::new(entries.collect()),
        Lists::new(lists.collect(), stale),
        false,
    )
}

/// What a client shows: its own certificate, then others.
fn shown(certificates: &[&[u8]]) -> Chain {
    let ders: Vec<_> = certificates
        .iter()
        .map(|der| CertificateDer::from(*der))
        .collect();
    Chain::shown(&ders[0], &ders[1..]).unwrap()
}

fn verify(trust: &Trust, certificates: &[&[u8]]) -> Result<Arc<Verified>, Refusal> {
    verify_at(trust, certificates, 0)
}

fn verify_at(
    trust: &Trust,
    certificates: &[&[u8]],
    seconds: i64,
) -> Result<Arc<Verified>, Refusal> {
    let judged = trust.admit(&Allow::AnyClient, &shown(certificates), at(seconds));
    judged.map(|(verified, _)| verified)
}

/// The sentence with which these are refused.
fn refused(trust: &Trust, certificates: &[&[u8]]) -> String {
    verify(trust, certificates).unwrap_err().to_string()
}

fn rules(name: &str) -> Allow {
    Allow::rules([Rule::dns(name).unwrap()]).unwrap()
}

fn admit(trust: &Trust, certificates: &[&[u8]]) -> Result<(Arc<Verified>, Admission), Refusal> {
    trust.admit(&rules("client.test"), &shown(certificates), at(0))
}
