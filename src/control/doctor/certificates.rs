//! Certificates of listeners: for whom, and for how long.

use x509_parser::parse_x509_certificate;

use super::Examined;
use crate::config::{Config, Identity};

/// Days before the end from which on it is told.
const SOON_DAYS: i64 = 21;
const DAY: i64 = 86_400;

/// Every certificate of `config` as it is at this time.
pub(super) fn examine(config: &Config, now_unix_s: i64) -> Vec<Examined> {
    let of_listeners = config.listeners.iter().flat_map(|listener| {
        let certificates = listener.tls.iter().flat_map(|tls| &tls.certificates);
        certificates.map(move |identity| (format!("certificate of {}", listener.name), identity))
    });
    let of_clusters = config
        .clusters
        .iter()
        .filter_map(|cluster| Some((format!("certificate for {}", cluster.name), cluster.tls.identity.as_ref()?)));
    let of_admin = config.admin.tls.iter().map(|tls| ("certificate of the admin endpoint".to_owned(), &tls.identity));
    let all = of_listeners.chain(of_clusters).chain(of_admin);
    all.filter_map(|(what, identity)| one(&what, identity, now_unix_s)).collect()
}

fn one(what: &str, identity: &Identity, now: i64) -> Option<Examined> {
    let (_, certificate) = parse_x509_certificate(identity.certified().cert.first()?).ok()?;
    let validity = certificate.validity();
    Some(judge(what, identity.names(), validity.not_before.timestamp(), validity.not_after.timestamp(), now))
}

fn judge(what: &str, names: &[String], not_before: i64, not_after: i64, now: i64) -> Examined {
    let names = if names.is_empty() { "no DNS name".to_owned() } else { names.join(", ") };
    let renew = "renew it: the files are watched, so that a new pair is taken up without a reload";
    let days = (not_after - now).div_euclid(DAY);
    if now < not_before {
        Examined::failure(
            what,
            format!("{names}: not valid yet"),
            "look at the clock of this machine, or of who issued it",
        )
    } else if now > not_after {
        Examined::failure(what, format!("{names}: expired {} days ago", -days), renew)
    } else if days < SOON_DAYS {
        Examined::warning(what, format!("{names}: {days} days left"), renew)
    } else {
        Examined::fine(what, format!("{names}: {days} days left"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    #[test]
    fn a_certificate_is_judged_by_the_time_it_has_left() {
        let at = |now_days: i64| judge("c", &["a.example".to_owned()], 10 * DAY, 100 * DAY, now_days * DAY);
        let told = |now_days: i64| (at(now_days).grade, at(now_days).found);
        assert_eq!(told(9), (Grade::Failure, "a.example: not valid yet".to_owned()));
        assert_eq!(told(50), (Grade::Fine, "a.example: 50 days left".to_owned()));
        assert_eq!(told(90), (Grade::Warning, "a.example: 10 days left".to_owned()));
        assert_eq!(told(103), (Grade::Failure, "a.example: expired 3 days ago".to_owned()));
    }
}
