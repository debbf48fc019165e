;; status 500 trap
;; streams
;; A pending read is cancelled as if it were a write. Wasmtime 50.0.1 takes the reader for a writer then (GHSA-xrvr-8678-5wp8). What follows
;; must cost this call only.
(func (export "attack") (local $reader i32)
  (local.set $reader (i32.wrap_i64 (call $stream-new)))
  (drop (call $stream-read (local.get $reader) (i32.const 0) (i32.const 8)))
  (drop (call $stream-cancel-write (local.get $reader)))
  (drop (call $stream-write (local.get $reader) (i32.const 16) (i32.const 8)))
  unreachable)
