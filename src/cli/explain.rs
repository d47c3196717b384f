//! `portcullis explain`: would this client be let in, by which rule, or why not.
//!
//! The configuration of `serve` and a client's certificate in; a verdict for each route out. Asks the very function
//! that the TLS verifier asks, so that the answer cannot differ. Connects to nothing and needs no client key.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ExtendedKeyUsage;
use x509_parser::prelude::FromDer as _;

use super::Failure;
use super::check::{Found, admits};
use super::sheet::{Sheet, counted, expiry};
use crate::config::{Flags, Place, Problem, Problems, Route};
use crate::file::reader::run_once;
use crate::file::{self, MOST_CERTIFICATES};
use crate::gate::alert_name;
use crate::identity::{Client, printable, rfc3339};
use crate::judge::Chain;
use crate::pem::{Block, Pem};
use crate::policy::SpkiPin;
use crate::trust::RouteTrust;

/// The exit code of "no".
const REFUSED: u8 = 3;

/// Says whether a client would be let in, by which rule or why not
///
/// Reads the configuration of serve (the same flags, variables and file) and every file that it names, judges the
/// client's certificate as of now with the code that judges it in the TLS handshake, and says for each route whether
/// the client is let in: by which rule and until when, or why not and which TLS alert it would hear. Above that stands
/// what the certificate says: its names by kind, as --allow-dns, --allow-uri, --allow-cn and --allow-ou would have to
/// spell them, and its key as --allow-spki takes it.
///
/// The client's private key is not needed. The files of the gate are, its private key included. Not judged are the
/// source address (--allow-from, shown where there is one), limits, and whether the client holds the key of its
/// certificate.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  portcullis explain --client-cert client.crt --config gate.toml
  portcullis explain --client-cert client.crt --config gate.toml \\
    --route kube-proxy

  The pin of a key, for --allow-spki:
    portcullis explain --client-cert client.crt --config gate.toml |
      grep spki

Exit codes:
  0  let in by at least one of the routes asked about
  2  the command line, the configuration or a file it names is unusable
  3  let in by none of them")]
pub struct Explain {
    /// The client's certificate as it would present it: PEM, leaf first, then intermediates
    #[arg(long, value_name = "FILE")]
    client_cert: PathBuf,
    /// Ask about this route only [default: every route]
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    #[command(flatten)]
    flags: Flags,
}

impl Explain {
    /// Prints the verdicts, with 0 if any is a yes and 3 otherwise.
    ///
    /// # Errors
    /// If the configuration or a file is unusable, or there is no such route.
    pub fn run(&self) -> Result<ExitCode, Failure> {
        let (sheet, code) = self.explain()?;
        sheet.print().map_err(Failure::Running)?;
        Ok(code)
    }

    fn explain(&self) -> Result<(Sheet, ExitCode), Failure> {
        let (flags, client_cert) = (self.flags.clone(), self.client_cert.clone());
        let (found, chain) = run_once(move || {
            let found = Found::new(&flags)?;
            Ok::<_, Problems>((found, read(&client_cert)?))
        })??;
        let routes = self.routes(&found)?;
        let now = UnixTime::now();
        let mut sheet = Sheet::default();
        certificate(&mut sheet, &self.client_cert, &chain, now);
        let judged = routes.iter().map(|(route, trust)| {
            sheet.heading(&format!("Route {} at {}", route.name, route.listen.value));
            verdict(&mut sheet, route, trust, &chain, now)
        });
        let admitted = judged.filter(|admitted| *admitted).count();
        if routes.len() > 1 {
            let (yes, all) = (admitted, counted(routes.len() as u64, "", "route"));
            sheet.gap();
            sheet.sentence(&format!("Let in by {yes} of {all}."));
        }
        let code = match admitted {
            0 => ExitCode::from(REFUSED),
            _ => ExitCode::SUCCESS,
        };
        Ok((sheet, code))
    }

    fn routes<'a>(&self, found: &'a Found) -> Result<Vec<(&'a Route, &'a RouteTrust)>, Problems> {
        let generation = &found.validated.generation;
        let wanted = |route: &Route| self.route.as_ref().is_none_or(|name| *name == *route.name);
        let routes = found.config.routes.iter().enumerate();
        let chosen: Vec<_> = routes
            .filter(|(_, route)| wanted(route))
            .filter_map(|(index, route)| Some((route, generation.route(index)?)))
            .collect();
        if !chosen.is_empty() {
            return Ok(chosen);
        }
        let names: Vec<&str> = found
            .config
            .routes
            .iter()
            .map(|route| &*route.name)
            .collect();
        Err(Problems(vec![Problem {
            place: Place::Flag("--route"),
            value: self.route.clone(),
            what: format!("no route has this name; there is {}", names.join(", ")),
        }]))
    }
}

/// The chain that a client with this file would present.
fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, Problems> {
    let problem = |what: String| {
        Problems(vec![Problem {
            place: Place::Flag("--client-cert"),
            value: Some(path.display().to_string()),
            what,
        }])
    };
    let bytes = file::read_once(path, MOST_CERTIFICATES)
        .map_err(|unreadable| problem(unreadable.to_string()))?;
    let pem = Pem::decode(bytes).map_err(|fault| problem(fault.to_string()))?;
    let blocks = pem
        .certificates("the client's certificate, leaf first")
        .map_err(|fault| problem(fault.to_string()))?;
    let chain: Vec<_> = blocks.iter().map(Block::certificate).collect();
    match issued_by_first(&chain) {
        None => Ok(chain),
        Some(number) => Err(problem(format!(
            "certificate {number} is issued by certificate 1; put the client's own certificate first, as the client \
             must"
        ))),
    }
}

/// The place, counted from one, of a certificate that the first one issued: then the first is no leaf. A single
/// certificate is left to the judge, whatever it is.
fn issued_by_first(chain: &[CertificateDer<'_>]) -> Option<usize> {
    let parsed = |der| X509Certificate::from_der(der).ok().map(|(_, one)| one);
    let first = parsed(chain.first()?)?;
    let others = chain.iter().skip(1).position(|der| {
        parsed(der)
            .is_some_and(|one| one.issuer() == first.subject() && one.subject() != first.subject())
    })?;
    Some(others + 2)
}

fn certificate(sheet: &mut Sheet, path: &Path, chain: &[CertificateDer<'_>], now: UnixTime) {
    sheet.heading("Client certificate");
    sheet.fact("file", path.display());
    let Some(leaf) = chain.first() else { return };
    match Client::from_der(leaf) {
        Ok(client) => facts(sheet, &client, now),
        Err(error) => sheet.fact("unreadable", error),
    }
    if let Ok((_, parsed)) = X509Certificate::from_der(leaf) {
        sheet.fact("issuer", printable(&parsed.issuer().to_string()));
        let usage = match parsed.extended_key_usage() {
            Ok(Some(usage)) => usages(usage.value),
            Ok(None) => "no extended key usage".to_owned(),
            Err(error) => format!("malformed: {error}"),
        };
        sheet.fact("usage", usage);
    }
    sheet.fact("chain", counted(chain.len() as u64, "", "certificate"));
}

fn facts(sheet: &mut Sheet, client: &Client, now: UnixTime) {
    // Without a SAN, these would be the common names.
    let sans = client.display_names();
    match sans.first().is_none_or(|name| name.starts_with("cn:")) {
        true => sheet.fact("names", "(no subject alternative name)"),
        false => sheet.list("names", sans),
    }
    sheet.list(
        "CN",
        client.common_names().iter().map(|name| printable(name)),
    );
    let units = client.organizational_units();
    sheet.list("OU", units.iter().map(|name| printable(name)));
    sheet.fact("serial", client.serial());
    sheet.fact("expires", expiry(client.validity(), now));
    sheet.fact("spki", SpkiPin::new(client.spki_sha256()));
}

fn usages(usage: &ExtendedKeyUsage<'_>) -> String {
    let known = [
        (usage.client_auth, "clientAuth"),
        (usage.server_auth, "serverAuth"),
        (usage.any, "anyExtendedKeyUsage"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ];
    let mut names: Vec<String> = known
        .into_iter()
        .filter(|(listed, _)| *listed)
        .map(|(_, name)| name.to_owned())
        .collect();
    names.extend(usage.other.iter().take(8).map(ToString::to_string));
    names.join(", ")
}

/// Asks the judge about one route and says what it said.
fn verdict(
    sheet: &mut Sheet,
    route: &Route,
    trust: &RouteTrust,
    chain: &[CertificateDer<'_>],
    now: UnixTime,
) -> bool {
    let Some((leaf, others)) = chain.split_first() else {
        return false;
    };
    let judged =
        Chain::shown(leaf, others).and_then(|chain| trust.trust.admit(&trust.allow, &chain, now));
    let admitted = match judged {
        Ok((verified, admission)) => {
            sheet.fact("verdict", "let in");
            sheet.fact("rule", printable(&admission.to_string()));
            sheet.fact("until", rfc3339(verified.validity.not_after));
            true
        }
        Err(refusal) => {
            sheet.fact("verdict", "refused");
            sheet.fact("reason", &refusal);
            sheet.fact("alert", alert_name(refusal.alert()));
            admits(sheet, &trust.allow);
            false
        }
    };
    if !route.allow_from.is_empty() {
        sheet.list("only from", &route.allow_from);
    }
    admitted
}

#[cfg(test)]
mod tests;
