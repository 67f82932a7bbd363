//! The two messages of `grpc.health.v1.Health/Check`, by hand: one field each.
//!
//! A message on the wire is a byte that says whether it is compressed, four bytes of length, and the message. In it a
//! field is a key (its number and how its value is written) and the value (protobuf.dev/programming-guides/encoding).

/// Bytes before a message: compressed or not, and its length.
const PREFIX_BYTES: usize = 5;
/// Key of field 1 with a length and bytes: `HealthCheckRequest.service`.
const SERVICE_KEY: u8 = 0x0a;

/// `HealthCheckResponse.ServingStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServingStatus {
    /// 0, also when the field is left out.
    Unknown,
    /// 1.
    Serving,
    /// 2.
    NotServing,
    /// 3.
    ServiceUnknown,
    /// A number of a later version.
    Other(u64),
}

/// The request for `service` as the body of a call; for the whole server when it is empty.
pub(super) fn encode_request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    // A field with its default value is left out.
    if !service.is_empty() {
        message.push(SERVICE_KEY);
        push_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).expect("a service's name is shorter than 4 GiB");
    let mut body = Vec::with_capacity(PREFIX_BYTES + message.len());
    body.push(0);
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(&message);
    body
}

/// The status in the body of an answer; `None` when it is not exactly one uncompressed message of this type.
pub(super) fn decode_response(body: &[u8]) -> Option<ServingStatus> {
    let (prefix, mut message) = body.split_first_chunk::<PREFIX_BYTES>()?;
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 || u32::from_be_bytes(length) as usize != message.len() {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        match (key >> 3, key & 7) {
            (0, _) => return None,
            // A field that comes twice has its last value.
            (1, 0) => status = take_varint(&mut message)?,
            (_, 0) => drop(take_varint(&mut message)?),
            (_, 1) => skip(&mut message, 8)?,
            (_, 2) => {
                let length = take_varint(&mut message)?;
                skip(&mut message, usize::try_from(length).ok()?)?;
            }
            (_, 5) => skip(&mut message, 4)?,
            // Groups, which this type never had.
            (_, _) => return None,
        }
    }
    Some(match status {
        0 => ServingStatus::Unknown,
        1 => ServingStatus::Serving,
        2 => ServingStatus::NotServing,
        3 => ServingStatus::ServiceUnknown,
        other => ServingStatus::Other(other),
    })
}

/// Seven bits to a byte, the low ones first; the high bit says that more follow.
#[allow(clippy::cast_possible_truncation, reason = "seven bits fit")]
fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            // The tenth byte has room for one bit.
            return (shift < 63 || *byte <= 1).then_some(value);
        }
    }
    None
}

fn skip(rest: &mut &[u8], bytes: usize) -> Option<()> {
    *rest = rest.get(bytes..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut body = vec![0];
        body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend_from_slice(message);
        body
    }

    #[test]
    fn a_request_names_its_service_or_is_empty() {
        assert_eq!(encode_request(""), [0, 0, 0, 0, 0]);
        assert_eq!(encode_request("a.B"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = encode_request(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
        assert_eq!(long.len(), 5 + 303);
    }

    #[test]
    fn every_status_is_told_apart() {
        assert_eq!(decode_response(&framed(&[])), Some(ServingStatus::Unknown));
        assert_eq!(decode_response(&framed(&[8, 0])), Some(ServingStatus::Unknown));
        assert_eq!(decode_response(&framed(&[8, 1])), Some(ServingStatus::Serving));
        assert_eq!(decode_response(&framed(&[8, 2])), Some(ServingStatus::NotServing));
        assert_eq!(decode_response(&framed(&[8, 3])), Some(ServingStatus::ServiceUnknown));
        assert_eq!(decode_response(&framed(&[8, 0xac, 2])), Some(ServingStatus::Other(300)));
    }

    #[test]
    fn the_last_status_counts_and_other_fields_are_passed_over() {
        let message = [8, 2, 16, 0x96, 1, 0x1a, 2, 7, 7, 0x21, 0, 0, 0, 0, 0, 0, 0, 0, 0x2d, 1, 2, 3, 4, 8, 1];
        assert_eq!(decode_response(&framed(&message)), Some(ServingStatus::Serving));
        assert_eq!(decode_response(&framed(&[0x0a, 1, 1])), Some(ServingStatus::Unknown), "field 1 of another type");
    }

    #[test]
    fn what_is_not_one_whole_plain_message_is_refused() {
        for body in [
            vec![],
            vec![0, 0, 0, 0],
            vec![0, 0, 0, 0, 2, 8],
            vec![0, 0, 0, 0, 2, 8, 1, 0],
            vec![1, 0, 0, 0, 2, 8, 1],
            vec![0, 0xff, 0xff, 0xff, 0xff, 8, 1],
            framed(&[8]),
            framed(&[8, 0x80]),
            framed(&[0, 1]),
            framed(&[0x0b]),
            framed(&[0x12, 5, 1]),
            framed(&[0x11, 1]),
            framed(&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
            framed(&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0]),
        ] {
            assert_eq!(decode_response(&body), None, "{body:?}");
        }
        let most = [8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(decode_response(&framed(&most)), Some(ServingStatus::Other(u64::MAX)));
    }

    #[test]
    fn no_bytes_whatsoever_upset_it() {
        let mut rng = crate::rng::Rng::from_seed(11);
        for _ in 0..20_000 {
            let length = usize::try_from(rng.below(24)).unwrap();
            let bytes: Vec<u8> = (0..length).map(|_| u8::try_from(rng.below(256)).unwrap()).collect();
            let (bare, framed) = (decode_response(&bytes), decode_response(&framed(&bytes)));
            assert!(bare.is_none() || length >= PREFIX_BYTES);
            assert!(framed.is_some() || length > 0, "an empty message is a message");
        }
    }
}
