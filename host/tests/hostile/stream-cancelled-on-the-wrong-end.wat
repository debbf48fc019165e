;; status 500 trap
;; streams
;; A pending read is cancelled as if it were a write. Wasmtime 50.0.1 has a fault there (GHSA-xrvr-8678-5wp8): it must cost this call only.
(func (export "attack") (local $ends i64)
  (local.set $ends (call $stream-new))
  (drop (call $stream-read (i32.wrap_i64 (local.get $ends)) (i32.const 0) (i32.const 8)))
  (drop (call $stream-cancel-write (i32.wrap_i64 (local.get $ends)))))
