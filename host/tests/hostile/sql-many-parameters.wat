;; status 204 denied
;; limits transfer = "64MiB"
;; limits cpu = "5s"
;; sql SELECT ?1
(func (export "attack")
  (drop (memory.grow (i32.const 26)))
  (call $query (i32.const 1024) (i32.const 9) (i32.const 65536) (i32.const 100000) (i32.const 256))
  (call $is (call $said (i32.const 4)) (i32.const 2))
  (call $execute (i32.const 1024) (i32.const 9) (i32.const 65536) (i32.const 100000) (i32.const 256))
  (call $is (call $said (i32.const 8)) (i32.const 2)))
