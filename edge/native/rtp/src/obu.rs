//! Open bitstream units of AV1 (AV1 specification, section 5.3), as far as carrying them needs.

/// Types of units that are told apart (AV1 specification, section 6.2.2).
pub(crate) mod obu_type {
    pub(crate) const SEQUENCE_HEADER: u8 = 1;
    pub(crate) const TEMPORAL_DELIMITER: u8 = 2;
    pub(crate) const FRAME_HEADER: u8 = 3;
    pub(crate) const TILE_GROUP: u8 = 4;
    pub(crate) const FRAME: u8 = 6;
    pub(crate) const TILE_LIST: u8 = 8;
    pub(crate) const PADDING: u8 = 15;
}

const FORBIDDEN: u8 = 0x80;
const HAS_EXTENSION: u8 = 0x04;
const HAS_SIZE: u8 = 0x02;
const MAX_LEB128_LEN: usize = 8;

/// One unit, without its size field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Obu<'a> {
    head: [u8; 2],
    head_len: usize,
    payload: &'a [u8],
}

impl<'a> Obu<'a> {
    /// A unit of no bytes.
    pub(crate) const EMPTY: Self = Self { head: [0; 2], head_len: 0, payload: &[] };

    /// Reads the first unit of `bytes`; returns it and what follows. A unit without size takes all the rest.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let first = *bytes.first()?;
        if first & FORBIDDEN != 0 {
            return None;
        }
        let head_len = if first & HAS_EXTENSION == 0 { 1 } else { 2 };
        let mut head = [first & !HAS_SIZE, 0];
        head[1..head_len].copy_from_slice(bytes.get(1..head_len)?);
        let after_head = bytes.get(head_len..)?;
        let (payload, rest) = if first & HAS_SIZE == 0 {
            (after_head, &[][..])
        } else {
            let (size, after_size) = read_leb128(after_head)?;
            after_size.split_at_checked(size)?
        };
        Some((Self { head, head_len, payload }, rest))
    }

    /// Its type.
    pub(crate) fn kind(&self) -> u8 {
        self.head[0] >> 3 & 0x0F
    }

    /// What follows header and size.
    pub(crate) fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Whether it goes over RTP (AV1 RTP specification, section 5).
    pub(crate) fn is_carried(&self) -> bool {
        !matches!(self.kind(), obu_type::TEMPORAL_DELIMITER | obu_type::TILE_LIST | obu_type::PADDING)
    }

    /// Length without size field, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.head_len + self.payload.len()
    }

    /// The bytes from `start` to `end`, counted without size field, in two parts.
    pub(crate) fn parts(&self, start: usize, end: usize) -> [&[u8]; 2] {
        let in_head = |at: usize| at.min(self.head_len);
        let in_payload = |at: usize| at.saturating_sub(self.head_len);
        [&self.head[in_head(start)..in_head(end)], &self.payload[in_payload(start)..in_payload(end)]]
    }

    /// Appends the unit with a size field.
    pub(crate) fn write_sized(&self, out: &mut Vec<u8>) {
        out.push(self.head[0] | HAS_SIZE);
        out.extend_from_slice(&self.head[1..self.head_len]);
        write_leb128(out, self.payload.len());
        out.extend_from_slice(self.payload);
    }
}

/// Reads a number of at most eight bytes with seven bits each, least significant first (section 4.10.5).
pub(crate) fn read_leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(MAX_LEB128_LEN).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, &bytes[at + 1..]));
        }
    }
    None
}

/// Appends a number in its shortest form.
pub(crate) fn write_leb128(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Length of a number's shortest form, in bytes.
pub(crate) fn leb128_len(value: usize) -> usize {
    let bits = usize::BITS - value.leading_zeros();
    bits.div_ceil(7).max(1) as usize
}
