(component
  (core module $m
    (memory 1)
    (func (export "run") (result i32) (i32.atomic.rmw.add (i32.const 0) (i32.const 42))))
  (core instance $i (instantiate $m))
  (func $run (result u32) (canon lift (core func $i "run")))
  (instance $api (export "run" (func $run)))
  (export "field:run/atomics@1.0.0" (instance $api)))
