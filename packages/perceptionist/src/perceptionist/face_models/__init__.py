"""Linear face models: BFM, ICT-FaceKit, the synthetic head, and files of our own."""
