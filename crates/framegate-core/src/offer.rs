//! Checks an SDP offer before the WebRTC stack sees it, and a trickled fragment.

use crate::limits::{SDP_BYTES_MAX, SDP_LINES_MAX, SDP_MEDIA_MAX};

/// Why an offer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// Too many bytes, lines or m-lines.
    #[error("the offer is too large: {0}")]
    TooLarge(&'static str),
    /// Not SDP.
    #[error("the offer is not usable SDP: {0}")]
    Malformed(String),
    /// SDP, but nothing we can serve.
    #[error("{0}")]
    Unsupported(&'static str),
}

/// Gives the offer without its candidates.
///
/// An ICE-lite agent answers checks and never sends any, so it has no use for addresses a stranger names; without them
/// nothing can make it talk to one. `sendrecv` becomes `sendonly`: we send no media, and WHIP wants an answer that says
/// so (RFC 9725 §4.2).
///
/// # Errors
/// [`OfferError`]; the texts tell what to change.
pub fn check(sdp: &str) -> Result<String, OfferError> {
    if sdp.len() > SDP_BYTES_MAX {
        return Err(OfferError::TooLarge("more than 64 KiB"));
    }
    if !sdp.starts_with("v=0") {
        return Err(OfferError::Malformed("it must begin with v=0".to_owned()));
    }
    if sdp.lines().count() > SDP_LINES_MAX {
        return Err(OfferError::TooLarge("too many lines"));
    }
    let sections: Vec<&str> = sdp.split("\nm=").skip(1).collect();
    if sections.len() > SDP_MEDIA_MAX {
        return Err(OfferError::TooLarge("more than 32 m-lines"));
    }
    if sections.is_empty() {
        return Err(OfferError::Unsupported("the offer has no m-line; add a video track"));
    }
    let videos: Vec<&&str> = sections.iter().filter(|section| section.starts_with("video ")).collect();
    if videos.is_empty() {
        return Err(OfferError::Unsupported("the offer has no video; add a video track"));
    }
    let has_line = |section: &str, wanted: &str| section.lines().any(|line| line.trim_end() == wanted);
    let sends = |section: &str| !has_line(section, "a=recvonly") && !has_line(section, "a=inactive");
    if !videos.iter().any(|section| sends(section)) {
        return Err(OfferError::Unsupported("no video of the offer is sendonly or sendrecv"));
    }
    let offers_vp8 = |section: &str| {
        section.lines().filter_map(|line| line.strip_prefix("a=rtpmap:")).any(|map| {
            map.split_once(' ').is_some_and(|(_, codec)| codec.to_ascii_uppercase().starts_with("VP8/90000"))
        })
    };
    if !videos.iter().any(|section| sends(section) && offers_vp8(section)) {
        return Err(OfferError::Unsupported("the offer's video has no VP8, the codec this server decodes"));
    }
    let mut kept = String::with_capacity(sdp.len());
    for line in sdp.lines().map(str::trim_end) {
        if line.starts_with("a=candidate:") || line == "a=end-of-candidates" {
            continue;
        }
        kept.push_str(if line == "a=sendrecv" { "a=sendonly" } else { line });
        kept.push_str("\r\n");
    }
    Ok(kept)
}

/// Checks the body of a trickle PATCH (RFC 8840). Its candidates are not needed: see [`check`].
///
/// # Errors
/// [`OfferError`] when it is too large or not a fragment.
pub fn check_fragment(fragment: &str) -> Result<(), OfferError> {
    if fragment.len() > SDP_BYTES_MAX || fragment.lines().count() > SDP_LINES_MAX {
        return Err(OfferError::TooLarge("a trickle fragment has a few lines"));
    }
    let well_formed = |line: &str| {
        let mut characters = line.chars();
        matches!((characters.next(), characters.next()), (Some('a'..='z'), Some('=')))
    };
    match fragment.lines().map(str::trim).find(|line| !line.is_empty() && !well_formed(line)) {
        Some(line) => {
            Err(OfferError::Malformed(format!("not an SDP line: {:?}", line.chars().take(40).collect::<String>())))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=sendonly\r\na=rtpmap:96 VP8/90000\r\n";

    fn refused(sdp: &str) -> OfferError {
        check(sdp).expect_err("refused")
    }

    #[test]
    fn hostile_offers_are_named_and_refused() {
        let head = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
        assert!(matches!(refused(&"x".repeat(SDP_BYTES_MAX + 1)), OfferError::TooLarge(_)));
        assert!(matches!(refused("hello"), OfferError::Malformed(_)));
        assert!(matches!(refused(head), OfferError::Unsupported(_)));
        assert!(matches!(refused(&format!("{head}{}", VIDEO.repeat(33))), OfferError::TooLarge(_)));
        assert!(matches!(refused(&format!("{head}{}", "a=x\n".repeat(5000))), OfferError::TooLarge(_)));
        let h264 = VIDEO.replace("VP8", "H264");
        assert!(matches!(refused(&format!("{head}{h264}")), OfferError::Unsupported(_)));
        let receiving = VIDEO.replace("sendonly", "recvonly");
        assert!(matches!(refused(&format!("{head}{receiving}")), OfferError::Unsupported(_)));
        assert!(check(&format!("{head}{VIDEO}")).is_ok());
    }

    #[test]
    fn candidates_are_left_out() {
        let candidates = "a=candidate:1 1 udp 1 169.254.169.254 80 typ host\r\n".repeat(1000);
        let cleaned = check(&format!("v=0\r\n{VIDEO}{candidates}a=end-of-candidates\r\n")).expect("accepted");
        assert!(!cleaned.contains("169.254") && !cleaned.contains("end-of-candidates"));
        assert!(cleaned.ends_with("VP8/90000\r\n"));
    }

    #[test]
    fn media_is_received_only() {
        let cleaned = check(&format!("v=0\r\n{}", VIDEO.replace("sendonly", "sendrecv"))).expect("accepted");
        assert!(cleaned.contains("a=sendonly\r\n") && !cleaned.contains("sendrecv"));
    }

    #[test]
    fn fragments_are_lines_of_sdp() {
        assert_eq!(
            check_fragment(
                "a=ice-ufrag:x\r\nm=video 9 RTP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 x.local 9 typ host\r\n"
            ),
            Ok(())
        );
        assert!(check_fragment("{\"candidate\":1}").is_err());
        assert!(check_fragment(&"a=x\n".repeat(5000)).is_err());
    }
}
