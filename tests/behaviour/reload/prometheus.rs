//! The first user: a Prometheus whose certificate is rotated under it.

use super::*;
use crate::support::pki::Credentials;
use crate::support::prometheus::Prometheus;

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
    let credentials = Credentials::at(secret.path(""));
    let prometheus = Prometheus::scraping(mounted.gate.address(), &credentials, "2s");
    let query = |query: &str| prometheus.number(query);
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
