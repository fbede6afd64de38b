//! RTP headers (RFC 3550 5.1), their extensions (RFC 8285), and the kinds of datagram on one port (RFC 7983).

use std::ops::Range;

use crate::bytes::read_u32;

/// Length of an RTP header without contributing sources and extensions, in bytes.
pub const FIXED_HEADER_LEN: usize = 12;

const VERSION_2: u8 = 2;
const ONE_BYTE_PROFILE: u16 = 0xBEDE;
const TWO_BYTE_PROFILE: u16 = 0x1000;
const TWO_BYTE_PROFILE_MASK: u16 = 0xFFF0;
const ONE_BYTE_STOP: u8 = 15;
const ONE_BYTE_MAX_LEN: usize = 16;

/// What a datagram on the shared port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramKind {
    /// A STUN message.
    Stun,
    /// A DTLS record.
    Dtls,
    /// An RTP packet, encrypted or not.
    Rtp,
    /// An RTCP packet, encrypted or not.
    Rtcp,
    /// Anything else, also an empty datagram.
    Other,
}

/// Tells what a datagram carries from its first two bytes (RFC 7983 section 7, RFC 5761 section 4).
pub fn classify(datagram: &[u8]) -> DatagramKind {
    match (datagram.first(), datagram.get(1)) {
        (Some(0..=3), _) => DatagramKind::Stun,
        (Some(20..=63), _) => DatagramKind::Dtls,
        (Some(128..=191), Some(&second)) if is_rtcp(second) => DatagramKind::Rtcp,
        (Some(128..=191), Some(_)) => DatagramKind::Rtp,
        _ => DatagramKind::Other,
    }
}

/// Whether the second byte of an RTP-like packet names an RTCP packet type (RFC 5761 section 4).
pub fn is_rtcp(second_byte: u8) -> bool {
    (192..=223).contains(&second_byte)
}

/// Why an RTP header could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The packet ends before its header does.
    TooShort,
    /// The version field is not 2.
    Version,
    /// An extension element runs past the extension block.
    Extension,
    /// The padding length is zero or more than the payload.
    Padding,
    /// The output has no room for the header.
    NoRoom,
    /// An extension to write has an identifier outside 1 to 14 or a length outside 1 to 16 bytes.
    Unwritable,
}

impl std::fmt::Display for HeaderError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::TooShort => "the packet ends inside its RTP header",
            Self::Version => "the RTP version is not 2",
            Self::Extension => "an RTP header extension runs past its block",
            Self::Padding => "the RTP padding is zero or longer than the payload",
            Self::NoRoom => "the buffer is too small for the RTP header",
            Self::Unwritable => "a one-byte extension needs an identifier of 1 to 14 and 1 to 16 bytes",
        })
    }
}

impl std::error::Error for HeaderError {}

/// A checked view over the header of one RTP packet.
#[derive(Clone, Copy, Debug)]
pub struct RtpHeader<'a> {
    packet: &'a [u8],
    header_len: usize,
    form: Form,
    extensions: &'a [u8],
}

impl<'a> RtpHeader<'a> {
    /// Reads and checks the header of `packet`, which may still be encrypted: only padding, which stands in the
    /// encrypted part, is left to [`RtpHeader::payload`].
    ///
    /// # Errors
    /// [`HeaderError`] for every malformation, including extension elements that run past their block.
    pub fn read(packet: &'a [u8]) -> Result<Self, HeaderError> {
        let fixed = packet.get(..FIXED_HEADER_LEN).ok_or(HeaderError::TooShort)?;
        if fixed[0] >> 6 != VERSION_2 {
            return Err(HeaderError::Version);
        }
        let csrc_end = FIXED_HEADER_LEN + 4 * usize::from(fixed[0] & 0x0F);
        let after_csrcs = packet.get(csrc_end..).ok_or(HeaderError::TooShort)?;
        if fixed[0] & 0x10 == 0 {
            return Ok(Self { packet, header_len: csrc_end, form: Form::Unknown, extensions: &[] });
        }
        let (form, extensions) = read_extension_block(after_csrcs)?;
        let header_len = csrc_end + 4 + extensions.len();
        Ok(Self { packet, header_len, form, extensions })
    }

    /// Marker bit: for video, the last packet of a frame.
    pub fn marker(&self) -> bool {
        self.packet[1] & 0x80 != 0
    }

    /// Payload type, 0 to 127.
    pub fn payload_type(&self) -> u8 {
        self.packet[1] & 0x7F
    }

    /// Sequence number.
    pub fn sequence(&self) -> u16 {
        u16::from_be_bytes([self.packet[2], self.packet[3]])
    }

    /// Timestamp in units of the payload type's clock.
    pub fn timestamp(&self) -> u32 {
        read_u32(self.packet, 4).unwrap_or_default()
    }

    /// Synchronisation source.
    pub fn ssrc(&self) -> u32 {
        read_u32(self.packet, 8).unwrap_or_default()
    }

    /// Number of contributing sources, 0 to 15.
    pub fn csrc_count(&self) -> usize {
        usize::from(self.packet[0] & 0x0F)
    }

    /// Length of the header with contributing sources and extensions, in bytes.
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// Extension elements in the order written; one-byte and two-byte forms alike. A block of another profile
    /// has none.
    pub fn extensions(&self) -> Extensions<'a> {
        Extensions { form: self.form, rest: self.extensions }
    }

    /// The value of the first extension element with this identifier.
    pub fn extension(&self, id: u8) -> Option<&'a [u8]> {
        self.extensions().find(|element| element.id == id).map(|element| element.value)
    }

    /// Where the payload of this (decrypted) packet lies, without padding.
    ///
    /// # Errors
    /// [`HeaderError::Padding`] where the padding length is zero or more than the payload.
    pub fn payload(&self) -> Result<Range<usize>, HeaderError> {
        payload_range(self.packet, self.header_len)
    }
}

/// One element of a header extension (RFC 8285 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Identifier that the session description maps to a meaning.
    pub id: u8,
    /// Value; may be empty in the two-byte form.
    pub value: &'a [u8],
}

/// Iterator over the extension elements of one header.
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    form: Form,
    rest: &'a [u8],
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Extension<'a>;

    fn next(&mut self) -> Option<Extension<'a>> {
        next_element(self.form, &mut self.rest).ok().flatten()
    }
}

/// The fields of a header that [`write_header`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderFields {
    /// Marker bit.
    pub marker: bool,
    /// Payload type; the low seven bits are written.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in units of the payload type's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

/// Length that [`write_header`] needs for these extensions, in bytes.
pub fn header_len(extensions: &[Extension<'_>]) -> usize {
    if extensions.is_empty() {
        return FIXED_HEADER_LEN;
    }
    FIXED_HEADER_LEN + 4 + extension_words(extensions) * 4
}

/// Writes a header with one-byte extensions (RFC 8285 section 4.2) at the start of `out`; returns its length in
/// bytes. Without extensions no extension block is written.
///
/// # Errors
/// [`HeaderError::NoRoom`] or [`HeaderError::Unwritable`]; `out` is then unchanged.
pub fn write_header(out: &mut [u8], fields: &HeaderFields, extensions: &[Extension<'_>]) -> Result<usize, HeaderError> {
    if extensions.iter().any(|element| !is_writable(element)) {
        return Err(HeaderError::Unwritable);
    }
    let out = out.get_mut(..header_len(extensions)).ok_or(HeaderError::NoRoom)?;
    let has_extensions = u8::from(!extensions.is_empty());
    out[0] = VERSION_2 << 6 | has_extensions << 4;
    out[1] = u8::from(fields.marker) << 7 | fields.payload_type & 0x7F;
    out[2..4].copy_from_slice(&fields.sequence.to_be_bytes());
    out[4..8].copy_from_slice(&fields.timestamp.to_be_bytes());
    out[8..12].copy_from_slice(&fields.ssrc.to_be_bytes());
    if !extensions.is_empty() {
        write_extensions(&mut out[FIXED_HEADER_LEN..], extensions);
    }
    Ok(out.len())
}

/// Where the payload of a decrypted packet lies after a header of `header_len` bytes, without padding.
pub(crate) fn payload_range(packet: &[u8], header_len: usize) -> Result<Range<usize>, HeaderError> {
    let is_padded = packet.first().is_some_and(|first| first & 0x20 != 0);
    let payload = packet.get(header_len..).ok_or(HeaderError::TooShort)?;
    if !is_padded {
        return Ok(header_len..packet.len());
    }
    match payload.last() {
        Some(&padding) if padding > 0 && usize::from(padding) <= payload.len() => {
            Ok(header_len..packet.len() - usize::from(padding))
        }
        _ => Err(HeaderError::Padding),
    }
}

/// How the elements of an extension block are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    OneByte,
    TwoByte,
    Unknown,
}

impl Form {
    fn of_profile(profile: u16) -> Self {
        match profile {
            ONE_BYTE_PROFILE => Self::OneByte,
            _ if profile & TWO_BYTE_PROFILE_MASK == TWO_BYTE_PROFILE => Self::TwoByte,
            _ => Self::Unknown,
        }
    }
}

/// Reads the block that follows the contributing sources and walks it once, so that iterating cannot fail.
fn read_extension_block(bytes: &[u8]) -> Result<(Form, &[u8]), HeaderError> {
    let start = bytes.get(..4).ok_or(HeaderError::TooShort)?;
    let form = Form::of_profile(u16::from_be_bytes([start[0], start[1]]));
    let len = 4 * usize::from(u16::from_be_bytes([start[2], start[3]]));
    let block = bytes.get(4..4 + len).ok_or(HeaderError::TooShort)?;
    let mut rest = block;
    while next_element(form, &mut rest)?.is_some() {}
    Ok((form, block))
}

fn next_element<'a>(form: Form, rest: &mut &'a [u8]) -> Result<Option<Extension<'a>>, HeaderError> {
    let unpadded = rest.iter().position(|&byte| byte != 0).unwrap_or(rest.len());
    let bytes = &rest[unpadded..];
    let (id, len, value_at) = match (form, bytes) {
        (Form::OneByte, [first, ..]) if first >> 4 == ONE_BYTE_STOP => return Ok(None),
        (Form::OneByte, [first, ..]) => (first >> 4, usize::from(first & 0x0F) + 1, 1),
        (Form::TwoByte, [id, len, ..]) => (*id, usize::from(*len), 2),
        (Form::TwoByte, [_]) => return Err(HeaderError::Extension),
        _ => return Ok(None),
    };
    let value = bytes.get(value_at..value_at + len).ok_or(HeaderError::Extension)?;
    *rest = &bytes[value_at + len..];
    Ok(Some(Extension { id, value }))
}

fn is_writable(element: &Extension<'_>) -> bool {
    (1..ONE_BYTE_STOP).contains(&element.id) && (1..=ONE_BYTE_MAX_LEN).contains(&element.value.len())
}

fn extension_words(extensions: &[Extension<'_>]) -> usize {
    extensions.iter().map(|element| 1 + element.value.len()).sum::<usize>().div_ceil(4)
}

fn write_extensions(block: &mut [u8], extensions: &[Extension<'_>]) {
    let words = extension_words(extensions) as u16;
    block[..2].copy_from_slice(&ONE_BYTE_PROFILE.to_be_bytes());
    block[2..4].copy_from_slice(&words.to_be_bytes());
    let mut at = 4;
    for element in extensions {
        let len = element.value.len();
        block[at] = element.id << 4 | (len as u8 - 1);
        block[at + 1..at + 1 + len].copy_from_slice(element.value);
        at += 1 + len;
    }
    block[at..].fill(0);
}
