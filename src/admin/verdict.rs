//! How the gate is, in one sentence: what an operator who is woken up has to know first.

use crate::follow::reload::Failure;
use crate::judge::Nobody;

/// The first of these that holds, for whatever follows matters less then.
pub(super) fn verdict(
    not_ready: &[String],
    refused: Option<&Nobody>,
    failure: Option<&Failure>,
) -> String {
    if !not_ready.is_empty() {
        return format!("not ready: {}", not_ready.join("; "));
    }
    if let Some(why) = refused {
        return format!("serving, but every client is refused: {why}");
    }
    let Some(Failure { reason, .. }) = failure else {
        return "serving".to_owned();
    };
    let mut reasons = reason.lines();
    let first = reasons.next().unwrap_or_default();
    let more = match reasons.count() {
        0 => String::new(),
        more => format!(" (and {more} more, in last_failure)"),
    };
    format!(
        "serving; the last reload failed: {first}{more}; still serving the previous configuration"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_comes_first() {
        let not_ready = ["draining".to_owned(), "expired".to_owned()];
        let failure = |reason: &str| Failure {
            since: std::time::SystemTime::UNIX_EPOCH,
            reason: reason.to_owned(),
        };
        let (one, many) = (failure("a: bad"), failure("a: bad\nb: bad\nc: bad"));
        let nobody = Some(&Nobody::NoCa);
        assert_eq!(
            verdict(&not_ready, nobody, Some(&one)),
            "not ready: draining; expired"
        );
        assert_eq!(
            verdict(&[], nobody, Some(&one)),
            "serving, but every client is refused: no certificate of --client-ca vouches for anybody now"
        );
        assert_eq!(
            verdict(&[], None, Some(&one)),
            "serving; the last reload failed: a: bad; still serving the previous configuration"
        );
        assert!(
            verdict(&[], None, Some(&many))
                .contains("failed: a: bad (and 2 more, in last_failure); still")
        );
        assert_eq!(verdict(&[], None, None), "serving");
    }
}
