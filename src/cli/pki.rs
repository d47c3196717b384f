//! `portcullis pki`: a throwaway development PKI, in a folder.
//!
//! What was asked on the command line in, files and a calm account of them out. [`authority`] makes the certificates
//! and needs no disk; this file decides which files there are and how they are called. Nothing here is for production.

mod account;
mod arguments;
pub mod authority;
mod files;
pub mod lifetime;
mod read;
mod revoke;
pub mod serial;
mod subject;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use rustls::pki_types::UnixTime;

use self::arguments::{days, dns_name, folder_name, subject_text, uri};
use self::authority::{Authority, Names, Purpose};
use self::files::{Existing, NewFile};
use self::lifetime::lifetime;
use self::revoke::Revoke;
use crate::file::{self, MOST_CERTIFICATES, Unreadable};
use crate::identity::printable;

/// What the commands say at the end.
const REMINDER: &str = "\
This is a throwaway PKI for development: its keys lie in files, unencrypted, and
whoever reads ca.key can make a client that your gate admits.
";

/// Makes a throwaway development PKI: a CA, certificates of gates and of clients, a revocation list
///
/// Everything goes into one folder, certs/ unless --dir names another. Key files have mode 0600, and no existing file
/// is overwritten without --force. None of it is for production: the keys are not encrypted.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  portcullis pki init
  portcullis pki issue server server --dns localhost --ip 127.0.0.1
  portcullis pki issue client client --dns prometheus.monitoring.svc
  portcullis pki revoke certs/client/tls.crt

Exit status: 0 done; 2 the command line or a file is unusable.")]
pub struct Pki {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(Init),
    Issue(Issue),
    Revoke(Revoke),
}

/// Makes the CA: DIR/ca.crt and DIR/ca.key
///
/// The key is P-256. The certificate is good from five minutes ago, so that a clock that is a little behind accepts
/// it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  portcullis pki init --dir /tmp/pki --days 30")]
struct Init {
    /// The folder of the PKI; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
    /// For how many days the CA is good
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = days())]
    days: u32,
    /// The CA's common name [default: "portcullis development CA" and eight random digits]
    ///
    /// Two CAs should never have the same name: clients of one are then refused by the other with a misleading alert
    /// (decrypt_error instead of unknown_ca).
    #[arg(long, value_name = "NAME", value_parser = subject_text)]
    cn: Option<String>,
    /// Replaces an existing CA; what that one issued is then worth nothing
    #[arg(long)]
    force: bool,
}

/// Issues certificates: for each NAME the folder DIR/NAME/ with tls.crt, tls.key and ca.crt
///
/// Those are the files of a Kubernetes Secret as the gate mounts it. Without any --dns, --uri or --ip the NAME itself
/// becomes the certificate's only name, as a DNS name (and nothing else: a server that is reached as 127.0.0.1 needs
/// --ip 127.0.0.1). With several NAMEs the flags apply to each of them.
///
/// A certificate ends with its CA at the latest. A server's has the extended key usage serverAuth, a client's
/// clientAuth.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  portcullis pki issue server server --dns localhost --ip 127.0.0.1
  portcullis pki issue client client \\
      --uri spiffe://cluster.local/ns/monitoring/sa/prometheus --ou platform
  portcullis pki issue client prometheus.monitoring.svc grafana.monitoring.svc")]
struct Issue {
    /// What the certificate is for
    #[arg(value_enum)]
    purpose: Purpose,
    /// The folder below DIR, and what other names default to
    #[arg(value_name = "NAME", required = true, value_parser = folder_name)]
    names: Vec<String>,
    /// The folder of the PKI, with ca.crt and ca.key
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
    /// A DNS name the certificate is for; repeatable [default: NAME, if there is no --uri or --ip either]
    #[arg(long, value_name = "NAME", value_parser = dns_name)]
    dns: Vec<String>,
    /// A URI the certificate is for, as spiffe://…; repeatable
    #[arg(long, value_name = "URI", value_parser = uri)]
    uri: Vec<String>,
    /// An IP address the certificate is for; repeatable
    #[arg(long, value_name = "IP")]
    ip: Vec<IpAddr>,
    /// The subject's common name [default: NAME]
    #[arg(long, value_name = "NAME", value_parser = subject_text)]
    cn: Option<String>,
    /// An organizational unit of the subject; repeatable
    #[arg(long, value_name = "UNIT", value_parser = subject_text)]
    ou: Vec<String>,
    /// For how many days the certificate is good
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = days())]
    days: u32,
    /// Replaces existing files of DIR/NAME/
    #[arg(long)]
    force: bool,
}

impl Pki {
    /// Does it and says on standard output what was written.
    ///
    /// # Errors
    /// If an argument or a file is unusable; no existing file was changed then.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut account = self.perform(UnixTime::now())?;
        account.push('\n');
        account.push_str(REMINDER);
        match io::stdout().write_all(account.as_bytes()) {
            // Nobody reads it, and the files are there.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            written => written
                .map(|()| ExitCode::SUCCESS)
                .context("cannot write to standard output"),
        }
    }

    fn perform(self, now: UnixTime) -> anyhow::Result<String> {
        match self.command {
            Command::Init(init) => init.run(now),
            Command::Issue(issue) => issue.run(now),
            Command::Revoke(revoke) => revoke.run(now),
        }
    }
}

impl Init {
    fn run(self, now: UnixTime) -> anyhow::Result<String> {
        let name = match self.cn {
            Some(name) => name,
            None => authority::unused_name()?,
        };
        let authority = Authority::new(&name, lifetime(now, self.days))?;
        let key = authority.key_pem();
        let _lock = files::lock(&self.dir)?;
        let (cert_path, key_path) = (self.dir.join("ca.crt"), self.dir.join("ca.key"));
        files::write_all(
            &[
                NewFile::private(key_path.clone(), &key),
                NewFile::public(cert_path.clone(), authority.cert_pem()),
            ],
            existing(self.force),
        )?;

        let mut account = format!("Made a CA.\n\n  {}\n", cert_path.display());
        writeln!(account, "  {} (mode 0600)", key_path.display())?;
        writeln!(account, "    subject  CN={}", printable(&name))?;
        writeln!(account, "    serial   {}", authority.serial())?;
        account::expiry(&mut account, authority.validity(), now)?;
        let list = self.dir.join("ca.crl");
        if list.exists() {
            writeln!(
                account,
                "\n{} is the list of another CA; remove it.",
                list.display()
            )?;
        }
        Ok(account)
    }
}

impl Issue {
    fn run(self, now: UnixTime) -> anyhow::Result<String> {
        let asked: Vec<(&String, Names)> = self
            .names
            .iter()
            .map(|name| Ok((name, self.names_of(name)?)))
            .collect::<anyhow::Result<_>>()?;
        for (index, name) in self.names.iter().enumerate() {
            if self.names.iter().take(index).any(|other| other == name) {
                bail!("NAME: {name:?}: given twice; give it once");
            }
        }
        let _lock = files::lock(&self.dir)?;
        let authority = load(&self.dir)?;
        let mut issued = Vec::new();
        for (name, names) in asked {
            let one = authority
                .issue(self.purpose, &names, lifetime(now, self.days))
                .with_context(|| self.dir.join("ca.crt").display().to_string())?;
            issued.push((self.dir.join(name), one));
        }
        let files: Vec<NewFile<'_>> = issued
            .iter()
            .flat_map(|(folder, one)| {
                [
                    NewFile::private(folder.join("tls.key"), &one.key_pem),
                    NewFile::public(folder.join("tls.crt"), &one.cert_pem),
                    NewFile::public(folder.join("ca.crt"), authority.cert_pem()),
                ]
            })
            .collect();
        let replaced: Vec<_> = issued
            .iter()
            .filter_map(|(folder, _)| revoke::replaced(folder, &authority))
            .collect();
        files::write_all(&files, existing(self.force))?;

        let mut account = match self.purpose {
            Purpose::Server => "Issued for a server (serverAuth).\n".to_owned(),
            Purpose::Client => "Issued for a client (clientAuth).\n".to_owned(),
        };
        for (folder, one) in &issued {
            account::issued(&mut account, folder, one, now)?;
        }
        account::replaced(&mut account, &replaced, &self.dir)?;
        if authority.validity().not_after < lifetime(now, self.days).not_after {
            account.push_str("\nThe CA ends sooner than --days, and its certificates with it.\n");
        }
        Ok(account)
    }

    fn names_of(&self, name: &str) -> anyhow::Result<Names> {
        let mut dns = self.dns.clone();
        if dns.is_empty() && self.uri.is_empty() && self.ip.is_empty() {
            let own = dns_name(name).map_err(|_| {
                anyhow!("NAME: {name:?}: not a DNS name; give --dns, --uri or --ip as well")
            })?;
            dns.push(own);
        }
        let common_name = match &self.cn {
            Some(name) => name.clone(),
            None => subject_text(name).map_err(|why| anyhow!("NAME: {name:?}: {why}, or --cn"))?,
        };
        Ok(Names {
            common_name: Some(common_name),
            organizational_units: self.ou.clone(),
            dns,
            uris: self.uri.clone(),
            ips: self.ip.clone(),
        })
    }
}

fn load(dir: &Path) -> anyhow::Result<Authority> {
    let (cert_path, key_path) = (dir.join("ca.crt"), dir.join("ca.key"));
    let read = |path: &Path| match file::read(path, MOST_CERTIFICATES) {
        Ok(pem) => Ok(pem),
        Err(Unreadable::Missing(_)) => Err(anyhow!(
            "{}: there is no CA; run `portcullis pki init --dir {}` first",
            path.display(),
            dir.display()
        )),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    };
    let (cert, key) = (read(&cert_path)?, read(&key_path)?);
    Authority::from_pem(&cert, &key)
        .with_context(|| format!("{} and {}", cert_path.display(), key_path.display()))
}

fn existing(force: bool) -> Existing {
    if force {
        Existing::Replace
    } else {
        Existing::Keep
    }
}
