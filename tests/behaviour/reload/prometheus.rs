//! The first user: a Prometheus whose certificate is rotated under it.

use super::*;

#[test]
fn a_prometheus_whose_certificate_is_rotated_under_it_never_loses_its_target() {
    let (old_ca, new_ca) = (Authority::root("old"), Authority::root("new"));
    let exporter = target::exporter();
    let rules = Rules::allowing(&exporter.flag(), &["prometheus"]);
    let bundle = [&*old_ca.pem, &*new_ca.pem].concat();
    let mounted = Mounted::start(Writer::Kubelet, &rules, &bundle, &[]);
    let mut params = client_params([dns("prometheus.test")]);
    // Kept connections of the old certificate end while it scrapes.
    let not_after = SystemTime::now() + Duration::from_secs(16);
    params.not_after = not_after.into();
    let (old, new) = (old_ca.issue(params, &[]), new_ca.client("prometheus"));
    let mut secret = Mount::new(Writer::Kubelet);
    secret.update(&[
        ("tls.crt", old.chain.as_bytes()),
        ("tls.key", old.key.as_bytes()),
        ("ca.crt", mounted.servers.pem.as_bytes()),
    ]);
    let folder = temporary_folder();
    let file = folder.path().join("prometheus.yml");
    let configuration = format!(
        "global:\n  scrape_interval: 2s\n  scrape_timeout: 2s\n\
         scrape_configs:\n  - job_name: node\n    scheme: https\n    tls_config:\n      \
         ca_file: {}\n      cert_file: {}\n      key_file: {}\n      server_name: {SERVER_NAME}\n    \
         static_configs:\n      - targets: ['{}']\n",
        secret.path("ca.crt").display(),
        secret.path("tls.crt").display(),
        secret.path("tls.key").display(),
        mounted.gate.address(),
    );
    write(&file, &configuration);
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!(
        "--storage.tsdb.path={}",
        folder.path().join("data").display()
    ));
    command.arg("--web.listen-address=127.0.0.1:0");
    let prometheus = Server::start(&mut command);
    let query = |query: &str| {
        let path = format!("/api/v1/query?query={query}");
        let answer = http::get(&prometheus.address.to_string(), &path);
        let answer: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let value = answer["data"]["result"][0]["value"][1].as_str();
        value.and_then(|value| value.parse::<f64>().ok())
    };
    eventually("up == 1", || query("up").filter(|up| *up == 1.0));
    let session = |serial: &str| mounted.gate.get("/sessions").body.contains(serial);
    eventually("it scrapes with the old one", || {
        session(&old.serial()).then_some(())
    });
    replace_pair(&mut secret, &new);
    eventually("it scrapes with the new one", || {
        session(&new.serial()).then_some(())
    });
    eventually("the old one is gone", || {
        (!session(&old.serial())).then_some(())
    });
    eventually("the old one has expired", || {
        (SystemTime::now() > not_after + Duration::from_secs(2)).then_some(())
    });
    let scrapes = query("count_over_time(up[1h])").unwrap_or_default();
    eventually("it scrapes on", || {
        query("count_over_time(up[1h])").filter(|now| *now >= scrapes + 2.0)
    });
    println!("{scrapes} scrapes until the old certificate expired");
    assert!(scrapes >= 4.0);
    assert_eq!(
        query("min_over_time(up[1h])"),
        Some(1.0),
        "up == 1 throughout"
    );
}
