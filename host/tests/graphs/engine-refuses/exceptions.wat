(component
  (core module $m
    (tag $e (param i32)) (func $throws (throw $e (i32.const 42)))
    (func (export "run") (result i32) (block $h (result i32) (try_table (catch $e $h) (call $throws)) (i32.const 1))))
  (core instance $i (instantiate $m))
  (func $run (result u32) (canon lift (core func $i "run")))
  (instance $api (export "run" (func $run)))
  (export "field:run/exceptions@1.0.0" (instance $api)))
