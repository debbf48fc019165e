;; status 204 denied
;; limits handles = 100000
;; sql INSERT INTO note VALUES ('attack')
(func (export "attack") (call $is (call $execute-within0 (call $begin)) (i32.const 0)))
