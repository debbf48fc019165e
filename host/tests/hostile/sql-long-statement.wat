;; status 204 denied
;; limits transfer = "64MiB"
;; limits cpu = "5s"
;; sql SELECT 1
(func (export "attack")
  (drop (memory.grow (i32.const 160)))
  (memory.fill (i32.const 65536) (i32.const 120) (i32.const 10000000))
  (call $query (i32.const 65536) (i32.const 10000000) (i32.const 0) (i32.const 0) (i32.const 256))
  (call $is (call $said (i32.const 4)) (i32.const 5))
  (call $execute (i32.const 65536) (i32.const 10000000) (i32.const 0) (i32.const 0) (i32.const 256))
  (call $is (call $said (i32.const 8)) (i32.const 5)))
