/**
 * Reads the barcode in the top rows of a received picture.
 *
 * Eighty cells, most significant bit first: frame number (24 bits), capture time in Unix milliseconds (24), `seq` of
 * the last input applied (16), CRC-16/CCITT-FALSE of the eight bytes before it (16). Pictures at least 640 wide have
 * one row of 80 cells, narrower ones two rows of 40; a cell's side is the largest even number of pixels of which that
 * many fit into the width. White is one.
 */

/** @typedef {{frameNumber: number, timeMs: number, inputSeq: number}} Reading Each wraps at the size of its field. */
/** @typedef {{columns: number, rows: number, side: number}} Layout */

const CELLS = 80;
const CODE_BYTES = 10;
const THRESHOLD_LUMA = 126;

/**
 * Where the cells lie in a picture of this width.
 *
 * @param {number} width
 * @returns {Layout}
 */
export function layoutFor(width) {
  const columns = width >= 640 ? 80 : 40;
  return { columns, rows: CELLS / columns, side: Math.floor(width / columns) & ~1 };
}

/**
 * Read the code from RGBA pixels, of which only the rows that hold it are needed.
 *
 * @param {Uint8ClampedArray} rgba
 * @param {number} width
 * @returns {Reading | null} `null` if the checksum does not hold.
 */
export function readBarcode(rgba, width) {
  const layout = layoutFor(width);
  if (layout.side < 4 || rgba.length < width * layout.rows * layout.side * 4) return null;
  const code = new Uint8Array(CODE_BYTES);
  for (let cell = 0; cell < CELLS; cell += 1) {
    if (cellLuma(rgba, width, layout, cell) > THRESHOLD_LUMA) code[cell >> 3] |= 0x80 >> (cell & 7);
  }
  return decode(code);
}

/**
 * @param {Uint8Array} code Ten bytes.
 * @returns {Reading | null}
 */
export function decode(code) {
  if (crc16(code.subarray(0, 8)) !== ((code[8] << 8) | code[9])) return null;
  return {
    frameNumber: (code[0] << 16) | (code[1] << 8) | code[2],
    timeMs: (code[3] << 16) | (code[4] << 8) | code[5],
    inputSeq: (code[6] << 8) | code[7],
  };
}

/**
 * CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF, not reflected.
 *
 * @param {Uint8Array} bytes
 */
export function crc16(bytes) {
  let crc = 0xffff;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  }
  return crc;
}

/**
 * Mean luma of a cell's central half. A browser expands limited range to full, so grey 126 stays near the middle.
 *
 * @param {Uint8ClampedArray} rgba
 * @param {number} width
 * @param {Layout} layout
 * @param {number} cell
 */
function cellLuma(rgba, width, { columns, side }, cell) {
  const margin = side >> 2;
  const left = (cell % columns) * side;
  const top = Math.floor(cell / columns) * side;
  let sum = 0;
  for (let y = top + margin; y < top + side - margin; y += 1) {
    for (let x = left + margin; x < left + side - margin; x += 1) {
      const at = (y * width + x) * 4;
      sum += 0.2126 * rgba[at] + 0.7152 * rgba[at + 1] + 0.0722 * rgba[at + 2];
    }
  }
  return sum / (side - 2 * margin) ** 2;
}

/** Reads the code from a `<video>` through a canvas no larger than the code. */
export class VideoBarcodeReader {
  constructor() {
    this._canvas = document.createElement('canvas');
    this._context = this._canvas.getContext('2d', { willReadFrequently: true, alpha: false });
  }

  /**
   * @param {HTMLVideoElement} video
   * @returns {Reading | null} `null` without a picture or when the checksum does not hold.
   */
  read(video) {
    const width = video.videoWidth;
    if (!width || !this._context) return null;
    const { rows, side } = layoutFor(width);
    const height = rows * side;
    if (this._canvas.width !== width || this._canvas.height !== height) Object.assign(this._canvas, { width, height });
    this._context.drawImage(video, 0, 0, width, height, 0, 0, width, height);
    return readBarcode(this._context.getImageData(0, 0, width, height).data, width);
  }
}
