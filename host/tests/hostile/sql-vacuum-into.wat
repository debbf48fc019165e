;; status 204 denied
;; limits handles = 100000
;; sql VACUUM INTO 'copy.db'
(func (export "attack") (local $transaction i32)
  (call $is (call $query0) (i32.const 2))
  (call $is (call $execute0) (i32.const 2))
  (local.set $transaction (call $begin))
  (call $is (call $query-within0 (local.get $transaction)) (i32.const 2))
  (call $is (call $execute-within0 (local.get $transaction)) (i32.const 2)))
