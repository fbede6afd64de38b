//! Payloads of video packets back into pictures: H.264 (RFC 6184) and VP8 (RFC 7741).

use crate::sdp::Payload;

const NAL_TYPE: u8 = 0x1f;
const NAL_IDR: u8 = 5;
const NAL_SEI: u8 = 6;
const NAL_SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const SEI_RECOVERY_POINT: u8 = 6;
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// A payload breaks its codec's rules, or continues what did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// One picture being put together; H.264 as an Annex B byte stream.
#[derive(Debug, Default)]
pub struct Picture {
    /// The octets so far.
    pub data: Vec<u8>,
    /// Whether decoding can begin here: an IDR picture, parameter sets, a recovery point, a VP8 key frame.
    pub keyframe: bool,
    in_fragment: bool,
}

impl Picture {
    /// Forgets the octets, keeps the memory.
    pub fn clear(&mut self) {
        self.data.clear();
        (self.keyframe, self.in_fragment) = (false, false);
    }

    /// Adds the payload of the next packet.
    ///
    /// # Errors
    /// [`Malformed`]; the picture is then of no use.
    pub fn add(&mut self, codec: Payload, payload: &[u8]) -> Result<(), Malformed> {
        match codec {
            Payload::H264 => self.add_h264(payload),
            Payload::Vp8 => self.add_vp8(payload),
            Payload::Rtx | Payload::Opus => Err(Malformed),
        }
    }

    /// Whether the picture can end here.
    pub fn is_whole(&self) -> bool {
        !self.data.is_empty() && !self.in_fragment
    }

    fn add_h264(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        let (&indicator, rest) = payload.split_first().ok_or(Malformed)?;
        match indicator & NAL_TYPE {
            FU_A => return self.add_fragment(indicator, rest),
            _ if self.in_fragment => return Err(Malformed),
            STAP_A => self.add_aggregate(rest)?,
            1..STAP_A => self.add_nal(payload),
            _ => return Err(Malformed),
        }
        Ok(())
    }

    fn add_nal(&mut self, nal: &[u8]) {
        self.note_type(nal);
        self.data.extend_from_slice(&START_CODE);
        self.data.extend_from_slice(nal);
    }

    fn add_aggregate(&mut self, mut rest: &[u8]) -> Result<(), Malformed> {
        while let Some((length, more)) = rest.split_first_chunk::<2>() {
            let (nal, more) = more.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(Malformed)?;
            if nal.is_empty() {
                return Err(Malformed);
            }
            self.add_nal(nal);
            rest = more;
        }
        if rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    fn add_fragment(&mut self, indicator: u8, rest: &[u8]) -> Result<(), Malformed> {
        let (&header, fragment) = rest.split_first().ok_or(Malformed)?;
        let (starts, ends) = (header & 0x80 != 0, header & 0x40 != 0);
        if starts == self.in_fragment || (starts && ends) {
            return Err(Malformed);
        }
        if starts {
            let nal_header = indicator & !NAL_TYPE | header & NAL_TYPE;
            self.data.extend_from_slice(&START_CODE);
            self.data.push(nal_header);
            self.note_type(&[nal_header, fragment.first().copied().unwrap_or(0)]);
        }
        self.data.extend_from_slice(fragment);
        self.in_fragment = !ends;
        Ok(())
    }

    fn note_type(&mut self, nal: &[u8]) {
        let kind = nal.first().map_or(0, |header| header & NAL_TYPE);
        let recovers = kind == NAL_SEI && nal.get(1) == Some(&SEI_RECOVERY_POINT);
        self.keyframe |= matches!(kind, NAL_IDR | NAL_SPS) || recovers;
    }

    fn add_vp8(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        let (descriptor, data) = split_vp8(payload).ok_or(Malformed)?;
        let starts = descriptor & 0x17 == 0x10;
        if starts != self.data.is_empty() || data.is_empty() {
            return Err(Malformed);
        }
        if starts {
            self.keyframe = data[0] & 1 == 0;
        }
        self.data.extend_from_slice(data);
        Ok(())
    }
}

/// The descriptor's first octet and what follows the descriptor (RFC 7741 section 4.2).
fn split_vp8(payload: &[u8]) -> Option<(u8, &[u8])> {
    let &first = payload.first()?;
    if first & 0x80 == 0 {
        return Some((first, payload.get(1..)?));
    }
    let &extended = payload.get(1)?;
    let mut length = 2;
    if extended & 0x80 != 0 {
        length += if payload.get(2)? & 0x80 != 0 { 2 } else { 1 };
    }
    length += usize::from(extended & 0x40 != 0) + usize::from(extended & 0x30 != 0);
    Some((first, payload.get(length..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picture(codec: Payload, payloads: &[&[u8]]) -> Result<Picture, Malformed> {
        let mut picture = Picture::default();
        payloads.iter().try_for_each(|payload| picture.add(codec, payload))?;
        Ok(picture)
    }

    #[test]
    fn puts_h264_together() {
        let packets: [&[u8]; 3] = [&[24, 0, 2, 0x67, 1, 0, 1, 0x68], &[0x7c, 0x85, 1, 2], &[0x7c, 0x45, 3]];
        let whole = picture(Payload::H264, &packets).unwrap();
        assert_eq!(whole.data, [0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 0, 0, 0, 1, 0x65, 1, 2, 3]);
        assert!(whole.keyframe && whole.is_whole());
        assert!(!picture(Payload::H264, &packets[..2]).unwrap().is_whole());
        assert!(!picture(Payload::H264, &[&[0x41, 9]]).unwrap().keyframe);
        assert!(picture(Payload::H264, &[&[0x06, 6, 1]]).unwrap().keyframe);
    }

    #[test]
    fn puts_vp8_together() {
        let whole = picture(Payload::Vp8, &[&[0x90, 0x80, 0x81, 2, 0x10, 7], &[0, 8, 9]]).unwrap();
        assert_eq!((whole.data.as_slice(), whole.keyframe), (&[0x10, 7, 8, 9][..], true));
        assert!(!picture(Payload::Vp8, &[&[0x10, 0x11]]).unwrap().keyframe);
    }

    #[test]
    fn refuses_what_does_not_fit_together() {
        for packets in [&[&[0x7c_u8, 0x05, 1][..]][..], &[&[0x7c, 0x85, 1], &[0x41, 1]], &[&[24, 0, 9, 1]], &[&[]]] {
            assert_eq!(picture(Payload::H264, packets).err(), Some(Malformed));
        }
        for packets in [&[&[0_u8, 1][..]][..], &[&[0x10, 1], &[0x10, 1]], &[&[0x90, 0x80]]] {
            assert_eq!(picture(Payload::Vp8, packets).err(), Some(Malformed));
        }
    }

    proptest! {
        #[test]
        fn takes_any_payload(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..6)) {
            for codec in [Payload::H264, Payload::Vp8] {
                let mut picture = Picture::default();
                let _ = payloads.iter().try_for_each(|payload| picture.add(codec, payload));
            }
        }
    }
}
