//! A real Prometheus: started with a configuration, asked over its HTTP API, killed when dropped.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::peers::Server;
use super::pki::{Credentials, SERVER_NAME, temporary_folder, write};
use super::{eventually, http};

pub(crate) struct Prometheus {
    server: Server,
    _folder: TempDir,
}

impl Prometheus {
    /// One that scrapes `/metrics` of one gate, as the job `node`.
    pub(crate) fn scraping(gate: SocketAddr, credentials: &Credentials, interval: &str) -> Self {
        let folder = temporary_folder();
        let file = folder.path().join("prometheus.yml");
        let configuration = format!(
            "global:\n  scrape_interval: {interval}\n  scrape_timeout: {interval}\n\
             scrape_configs:\n  - job_name: node\n    scheme: https\n    tls_config:\n      \
             ca_file: {}\n      cert_file: {}\n      key_file: {}\n      server_name: {SERVER_NAME}\n    \
             static_configs:\n      - targets: ['{gate}']\n",
            credentials.ca().display(),
            credentials.cert().display(),
            credentials.key().display(),
        );
        write(&file, &configuration);
        Self::running(&file, folder)
    }

    /// One that runs this configuration file.
    pub(crate) fn of(file: &Path) -> Self {
        Self::running(file, temporary_folder())
    }

    fn running(file: &Path, folder: TempDir) -> Self {
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        let data = folder.path().join("data");
        command.arg(format!("--storage.tsdb.path={}", data.display()));
        command.arg("--web.listen-address=127.0.0.1:0");
        Self {
            server: Server::start(&mut command),
            _folder: folder,
        }
    }

    /// What the API answers; `null` while it is not ready.
    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = http::get(&self.server.address.to_string(), path);
        serde_json::from_str(&answer.body).unwrap_or_default()
    }

    /// The samples of an instant query; panics if Prometheus does not understand it.
    pub(crate) fn samples(&self, query: &str) -> Vec<Value> {
        let path = format!("/api/v1/query?query={}", percent_encoded(query));
        let answer = eventually("Prometheus is ready", || {
            Some(self.get(&path)).filter(|answer| !answer.is_null())
        });
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let samples = answer["data"]["result"].as_array();
        samples.cloned().unwrap_or_default()
    }

    /// The value of the first sample, if there is one.
    pub(crate) fn query(&self, query: &str) -> Option<String> {
        let samples = self.samples(query);
        let value = samples.first()?["value"][1].as_str();
        value.map(str::to_owned)
    }

    /// The same as a number.
    pub(crate) fn number(&self, query: &str) -> Option<f64> {
        self.query(query)
            .map(|value| value.parse().expect("a number"))
    }

    /// Every rule it has loaded.
    pub(crate) fn rules(&self) -> Vec<Value> {
        let answer = eventually("Prometheus is ready", || {
            Some(self.get("/api/v1/rules")).filter(|answer| answer["status"] == "success")
        });
        let groups = answer["data"]["groups"].as_array().expect("groups");
        let rules = groups.iter().filter_map(|group| group["rules"].as_array());
        rules.flatten().cloned().collect()
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(byte.into());
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes it");
        }
        encoded
    })
}
