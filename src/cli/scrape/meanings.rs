//! What each refusal usually means and what to do: the tables of `portcullis scrape`.
//!
//! Its own file so that the words can be read and mended in one place. Decides nothing.

use rustls::AlertDescription;

use super::refusal::{Cause, Step};
use super::untrusted;

/// A row of the table of alerts.
struct AlertRow {
    alert: AlertDescription,
    meaning: &'static str,
}

/// What this usually means, and what to do.
pub(super) fn of(step: Step, cause: &Cause) -> &'static str {
    match cause {
        Cause::Alert(alert) => {
            let row = ALERTS.iter().find(|row| row.alert == *alert);
            row.map_or(OTHER_ALERT, |row| row.meaning)
        }
        Cause::Untrusted(error) => untrusted::meaning(error),
        Cause::Status(status) => of_status(*status),
        Cause::TimedOut(_) => of_timeout(step),
        Cause::Reset => of_reset(step),
        Cause::Cut | Cause::Closed => of_end(step),
        Cause::Unresolved(_) => {
            "The host name is not known to this machine's resolver. Correct it, or write an IP address and say \
             with --server-name what the certificate is for."
        }
        Cause::Refused => {
            "Nothing listens on that port of that host. Is the gate running, and does --listen name this port? A \
             gate that drains no longer listens either."
        }
        Cause::Unreachable(_) => {
            "There is no way to that address from here: a route, a firewall or the network itself. Try from \
             another host, and look at the address."
        }
        Cause::NotTls => {
            "That port speaks something else. Is it the target's own port, or the admin listener (plain HTTP, \
             port 54900), instead of the gate's (54899)?"
        }
        Cause::Tls(_) => {
            "The two sides have no version, cipher or key exchange in common, or one of them broke the protocol. \
             Look for the same moment in the server's log."
        }
        Cause::NotHttp(_) => {
            "TLS is fine and the client was let in, but what answered behind the gate does not speak HTTP/1.1. \
             Look at the route's --target."
        }
        Cause::TooLong(_) => {
            "The answer is longer than the asking program wants to hold. Is it the right page?"
        }
        Cause::Io(_) => {
            "The operating system gave up the connection. Try again, and look at the server's log."
        }
    }
}

const OTHER_ALERT: &str =
    "The server ended the handshake for a reason of its own. Look for the same moment in its log.";

const ALERTS: [AlertRow; 14] = [
    AlertRow {
        alert: AlertDescription::CertificateRequired,
        meaning: "The server wants a client certificate and got none. Give --cert and --key, and leave out \
                  --no-cert.",
    },
    AlertRow {
        alert: AlertDescription::UnknownCA,
        meaning: "The client certificate does not chain to a CA of the gate's --client-ca; or the gate has \
                  revocation lists and none of them speaks for this certificate, or that one is stale. Let the \
                  right CA issue it, or give the gate that CA or a fresh list.",
    },
    AlertRow {
        alert: AlertDescription::CertificateExpired,
        meaning: "The client certificate has expired or is not yet valid, or a CA above it has or is. Issue a new \
                  one, or renew that CA; if the dates look right, compare the clocks.",
    },
    AlertRow {
        alert: AlertDescription::CertificateRevoked,
        meaning: "A revocation list of the gate (--client-crl) names the client certificate, or a CA above it. Issue \
                  a new one.",
    },
    AlertRow {
        alert: AlertDescription::UnsupportedCertificate,
        meaning: "The client certificate is not one for TLS clients: clientAuth is not in its extended key usage. \
                  Issue it as a client's; for one without any such usage the gate has --allow-missing-eku.",
    },
    AlertRow {
        alert: AlertDescription::AccessDenied,
        meaning: "The client certificate is good, and no allow rule names it. See what it says with `portcullis \
                  explain --client-cert FILE`, and add an --allow-dns or --allow-uri for it.",
    },
    AlertRow {
        alert: AlertDescription::BadCertificate,
        meaning: "The server could not use the client certificate: it is damaged, has a critical extension that is \
                  not known or, with servers other than this gate, is missing, unknown or expired. `portcullis \
                  explain --client-cert FILE` says what this gate finds.",
    },
    AlertRow {
        alert: AlertDescription::CertificateUnknown,
        meaning: "The server takes no such certificate from a client. This gate says so of a CA's own certificate \
                  (`openssl req -x509` makes such: issue one to the client), of one that is not X.509 version 3, \
                  and of names outside the name constraints of its CA. `portcullis explain --client-cert FILE` says \
                  which it is; for another server, look at its log.",
    },
    AlertRow {
        alert: AlertDescription::DecryptError,
        meaning: "A signature did not verify. Usually the client certificate comes from a CA of the same name as \
                  the gate's but with another key, as after making the CA again. Issue the certificate again.",
    },
    AlertRow {
        alert: AlertDescription::HandshakeFailure,
        meaning: "The two sides have no cipher, key exchange or signature in common; in TLS 1.2 some servers also \
                  say this when the client certificate is missing. Give --cert, or look at the server's TLS \
                  settings.",
    },
    AlertRow {
        alert: AlertDescription::ProtocolVersion,
        meaning: "The server speaks neither TLS 1.3 nor 1.2, or not the one that is left. Look at its TLS \
                  settings (for this gate --tls-min).",
    },
    AlertRow {
        alert: AlertDescription::UnrecognisedName,
        meaning: "The server has no certificate for the name that it was asked for. Correct the host or \
                  --server-name.",
    },
    AlertRow {
        alert: AlertDescription::NoApplicationProtocol,
        meaning: "The server does not offer HTTP/1.1 over TLS. Is it the right port?",
    },
    AlertRow {
        alert: AlertDescription::InternalError,
        meaning: "Something is wrong in the server itself. Look for the same moment in its log.",
    },
];

fn of_status(status: u16) -> &'static str {
    match status {
        300..=399 => {
            "The answer points elsewhere and is not followed. Ask for the place it points to."
        }
        401 => {
            "The target behind the gate wants a password or token as well; this command sends none."
        }
        403 => "The gate let the client in, and the target itself refuses this request.",
        404 => {
            "The gate let the client in, and the target has nothing at this path. Correct the URL."
        }
        405 => "The gate let the client in, and the target does not answer GET at this path.",
        502..=504 => {
            "The gate let the client in, and the target behind it does not answer or is not ready. Is it running?"
        }
        _ => {
            "The gate let the client in, and the target did not answer with a success. Look at the target's log."
        }
    }
}

fn of_timeout(step: Step) -> &'static str {
    match step {
        Step::Connecting => {
            "Nothing came back at all: usually a firewall or network policy that drops packets, or a wrong address."
        }
        Step::Handshake => {
            "The port is open and says nothing: not a TLS port, a server that is overloaded, or a proxy in between."
        }
        Step::FirstRead | Step::Status => {
            "TLS is up and no answer came: the target behind the gate hangs, or takes longer than --timeout."
        }
        Step::Body => {
            "The answer began and did not end: the target is slow. Give a longer --timeout."
        }
    }
}

fn of_reset(step: Step) -> &'static str {
    match step {
        Step::Connecting | Step::Handshake => {
            "The server threw the connection away before TLS: this address is not in --allow-from, the gate is \
             full (--max-connections-per-source, --max-handshakes), or a proxy has nowhere to go."
        }
        Step::FirstRead | Step::Status => {
            "The connection was thrown away after TLS: the target behind the gate is down or threw it away \
             itself, the gate is full (--max-connections), or an alert was lost on the way. Look at the gate's \
             log."
        }
        Step::Body => {
            "The answer is not complete: the target died, or the gate ended the session (see `outcome` in its log)."
        }
    }
}

fn of_end(step: Step) -> &'static str {
    match step {
        Step::Connecting | Step::Handshake => {
            "The server hung up before TLS was up: this address is not in --allow-from, the gate is full, or the \
             port is not a TLS port."
        }
        Step::FirstRead | Step::Status => {
            "The connection ended without an answer. Usually the target behind the gate is down (outcome \
             `target_unreachable` in the gate's log), or the gate is full or stopping."
        }
        Step::Body => {
            "The answer is not complete, and what was printed is only its beginning: the target died, or the gate \
             ended the session (see `outcome` in its log)."
        }
    }
}
