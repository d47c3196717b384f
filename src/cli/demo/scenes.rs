//! The story, scene by scene: what is there and what happened in, lines for a newcomer out.
//!
//! Its own file because these are the words. Each line is printed from what was measured, counted or recorded; nothing
//! here is told because it ought to be so.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::bail;
use rustls::AlertDescription;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::CLIENT;
use super::folder::Folder;
use super::records::{Entry, Record};
use super::show::{Show, quoted, took};
use super::stage::Stage;
use super::target::PAGES;
use crate::cli::scrape::{self, ClientFiles, Credentials, Request, get};
use crate::event::Outcome;
use crate::gate::alert_name;

/// How long one scrape may take, and how long its record.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest page that is read.
const PAGE_BYTES: usize = 1 << 20;
/// How much of it is shown.
const PAGE_LINES: usize = 5;

/// What this is, in two sentences.
pub(super) fn introduce<W: Write>(show: &mut Show<W>) -> anyhow::Result<()> {
    show.text(
        0,
        "portcullis lends a port that listens on loopback only to clients that prove with a certificate who they are, \
         and to nobody else. This is the whole of it on one machine, as it happens.",
    )
}

/// The files, whom they are for, and how long they took to make.
pub(super) fn show_folder<W: Write>(
    show: &mut Show<W>,
    folder: &Folder,
    authority: &str,
    time: Duration,
) -> anyhow::Result<()> {
    show.heading(&format!("1. A throwaway PKI, made in {}", took(time)))?;
    show.fact(
        "folder",
        format_args!("{} (mode 0700)", folder.path().display()),
    )?;
    show.fact("ca.crt", authority)?;
    show.fact("server/tls.crt", "for localhost and 127.0.0.1")?;
    show.fact("client/tls.crt", format_args!("for {CLIENT}"))
}

fn show_stage<W: Write>(show: &mut Show<W>, stage: &Stage) -> anyhow::Result<()> {
    let (gate, target) = (stage.gate_at.to_string(), stage.target_at.to_string());
    show.heading(&format!(
        "2. A target and the gate in front of it, up in {}",
        took(stage.took)
    ))?;
    show.line(format_args!(
        "   +------------+            +-----------------+             +-----------------+
   | Prometheus |    mTLS    |      gate       | plain HTTP  |     target      |
   | or curl    | ---------> | {gate:15} | ----------> | {target:15} |
   +------------+            +-----------------+             +-----------------+"
    ))?;
    show.fact(
        "target",
        "a metrics page: no TLS, no password, loopback only",
    )?;
    show.fact("gate", format_args!("lets in only dns:{CLIENT}"))?;
    show.fact(
        "gate's own account",
        format_args!("http://{}/metrics", stage.admin_at),
    )?;
    stage.moved.iter().try_for_each(|moved| show.text(3, moved))
}

/// Tells what is there and scrapes it twice; then, unless it is for once, shows what others do until it is dropped. True
/// if both scrapes went as they must.
pub(super) async fn tell<W: Write>(
    show: &mut Show<W>,
    folder: &Folder,
    stage: &Stage,
    records: &mut Receiver<Entry>,
    once: bool,
) -> anyhow::Result<bool> {
    show_stage(show, stage)?;
    let good = scrapes(show, folder, stage, records).await?;
    if good && !once {
        invite(show, folder, stage)?;
        watch(show, records).await?;
    }
    Ok(good)
}

/// Both scrapes; true if they went as they must.
async fn scrapes<W: Write>(
    show: &mut Show<W>,
    folder: &Folder,
    stage: &Stage,
    records: &mut Receiver<Entry>,
) -> anyhow::Result<bool> {
    let ca = scrape::read("--ca", &folder.file("ca.crt"))?;
    let client = ClientFiles {
        cert: scrape::read("--cert", &folder.file("client/tls.crt"))?,
        key: scrape::read("--key", &folder.file("client/tls.key"))?,
    };
    let mut request = Request {
        url: url(stage).parse()?,
        credentials: Credentials::new(&ca, Some(&client))?,
        server_name: None,
        timeout: PATIENCE,
    };
    show.heading("3. A scrape with the client's certificate: it must be let in")?;
    let one = let_in(show, stage, &request, records).await?;
    request.credentials = Credentials::new(&ca, None)?;
    show.heading("4. The same without a certificate: it must be refused")?;
    let other = refused(show, stage, &request, records).await?;
    Ok(one && other)
}

async fn let_in<W: Write>(
    show: &mut Show<W>,
    stage: &Stage,
    request: &Request,
    records: &mut Receiver<Entry>,
) -> anyhow::Result<bool> {
    show.fact("client asks", format_args!("GET {}", request.url))?;
    let before = stage.target.connections();
    let began = Instant::now();
    let answer = match get(request).await {
        Ok(response) => {
            let status = response.status;
            response.body(PAGE_BYTES).await.map(|body| (status, body))
        }
        Err(refusal) => Err(refusal),
    };
    let time = took(began.elapsed());
    let answered = match &answer {
        Ok((status, body)) => {
            let bytes = body.len();
            show.fact(
                "client gets",
                format_args!("status {status}, {bytes} bytes, in {time}"),
            )?;
            excerpt(show, &String::from_utf8_lossy(body))?;
            (200..300).contains(status)
        }
        Err(refusal) => {
            show.fact("client gets", format_args!("nothing, {refusal}"))?;
            false
        }
    };
    let seen = seen(show, stage, before)?;
    let record = next(show, records).await?;
    show_record(show, &record)?;
    let good = answered && seen == 1 && record.outcome() == Outcome::Relayed.as_str();
    show.verdict(
        good,
        match good {
            true => "Let in: the page came through the gate.",
            false => "It was not let in. The lines above say how far it came.",
        },
    )?;
    Ok(good)
}

async fn refused<W: Write>(
    show: &mut Show<W>,
    stage: &Stage,
    request: &Request,
    records: &mut Receiver<Entry>,
) -> anyhow::Result<bool> {
    show.fact("client asks", format_args!("GET {}", request.url))?;
    let before = stage.target.connections();
    let began = Instant::now();
    let answer = get(request).await;
    let time = took(began.elapsed());
    let alert = match &answer {
        Ok(response) => {
            let status = response.status;
            show.fact("client gets", format_args!("status {status}, in {time}"))?;
            None
        }
        Err(refusal) => {
            match refusal.alert {
                Some(alert) => {
                    let (name, number) = (alert_name(alert), u8::from(alert));
                    let text = format!("the TLS alert {name} ({number}), in {time}");
                    show.fact("client gets", text)?;
                }
                None => show.fact("client gets", format_args!("{refusal}, in {time}"))?,
            }
            refusal.alert
        }
    };
    drop(answer);
    let record = next(show, records).await?;
    // Only now: once there is a record, the gate is done with the connection.
    let seen = seen(show, stage, before)?;
    show_record(show, &record)?;
    let good = alert == Some(AlertDescription::CertificateRequired)
        && seen == 0
        && record.outcome() == Outcome::HandshakeFailed.as_str();
    show.verdict(
        good,
        match good {
            true => "Refused: the client was told why, and the target never heard of it.",
            false => "It was not refused as it must be. The lines above say how far it came.",
        },
    )?;
    Ok(good)
}

/// The first lines of a page.
fn excerpt<W: Write>(show: &mut Show<W>, page: &str) -> anyhow::Result<()> {
    for line in page.lines().take(PAGE_LINES) {
        show.line(format_args!("     | {line}"))?;
    }
    match page.lines().count().saturating_sub(PAGE_LINES) {
        0 => Ok(()),
        more => show.line(format_args!("     | ({more} more lines)")),
    }
}

/// How many connections the target has counted since there were so many.
fn seen<W: Write>(show: &mut Show<W>, stage: &Stage, before: u64) -> anyhow::Result<u64> {
    let seen = stage.target.connections().saturating_sub(before);
    let text = match seen {
        1 => "1 connection".to_owned(),
        seen => format!("{seen} connections"),
    };
    show.fact("target counts", text)?;
    Ok(seen)
}

/// The next connection record; a warning before it is shown.
async fn next<W: Write>(
    show: &mut Show<W>,
    records: &mut Receiver<Entry>,
) -> anyhow::Result<Record> {
    loop {
        match timeout(PATIENCE, records.recv()).await {
            Ok(Some(Entry::Connection(record))) => return Ok(record),
            Ok(Some(Entry::Warning(line))) => show.line(line)?,
            Ok(None) | Err(_) => bail!("the gate wrote no record of the connection"),
        }
    }
}

fn show_record<W: Write>(show: &mut Show<W>, record: &Record) -> anyhow::Result<()> {
    show.line("   gate records")?;
    for (name, value) in record.facts() {
        show.fact(&format!("  {name}"), value)?;
    }
    Ok(())
}

fn invite<W: Write>(show: &mut Show<W>, folder: &Folder, stage: &Stage) -> anyhow::Result<()> {
    let file = |name: &str| quoted(&folder.file(name).display().to_string());
    let (ca, cert, key) = (
        file("ca.crt"),
        file("client/tls.crt"),
        file("client/tls.key"),
    );
    let url = url(stage);
    show.heading("Now you, in another terminal")?;
    show.line(format_args!(
        "\
curl{} --cacert {ca} \\
  --cert {cert} \\
  --key {key} \\
  {url}

{} scrape \\
  --ca {ca} \\
  --cert {cert} \\
  --key {key} \\
  {url}
",
        without_proxy(),
        program()
    ))?;
    show.text(
        0,
        "Without --cert and --key it is refused (scrape then wants --no-cert). Every connection shows below, as the \
         gate records it.",
    )?;
    let path = folder.path().display();
    show.heading(&format!("Ctrl-C stops it and removes {path}"))
}

fn url(stage: &Stage) -> String {
    format!("https://{}{}", stage.gate_at, PAGES[0])
}

/// What keeps curl from asking a proxy for a page on loopback, if there is one to ask.
fn without_proxy() -> &'static str {
    let proxies = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    match proxies
        .into_iter()
        .any(|name| std::env::var_os(name).is_some())
    {
        true => " --noproxy 127.0.0.1",
        false => "",
    }
}

/// How this program is called from any folder: as it was if it is on the PATH, else with its whole path.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    match std::env::current_exe() {
        Ok(path) if called.contains('/') => quoted(&path.display().to_string()),
        Ok(_) | Err(_) => "portcullis".to_owned(),
    }
}

/// Shows what the gate records, until it stops.
async fn watch<W: Write>(show: &mut Show<W>, records: &mut Receiver<Entry>) -> anyhow::Result<()> {
    while let Some(entry) = records.recv().await {
        match entry {
            Entry::Connection(record) => show.item(9, &record.sentence())?,
            Entry::Warning(line) => show.line(line)?,
        }
    }
    Ok(())
}
