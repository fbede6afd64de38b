/** An `EventTarget` whose events are known to the type checker. */

/**
 * @template {Record<string, any>} Events Event names and the type of their `detail`.
 */
export class Emitter extends EventTarget {
  /**
   * Listen; `handler` gets the event's `detail`.
   *
   * @template {keyof Events & string} Name
   * @param {Name} name
   * @param {(detail: Events[Name]) => void} handler
   * @returns {() => void} Stops listening.
   */
  on(name, handler) {
    const listener = (/** @type {Event} */ event) => handler(/** @type {CustomEvent} */ (event).detail);
    this.addEventListener(name, listener);
    return () => this.removeEventListener(name, listener);
  }

  /**
   * @template {keyof Events & string} Name
   * @param {Name} name
   * @param {Events[Name]} detail
   */
  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
