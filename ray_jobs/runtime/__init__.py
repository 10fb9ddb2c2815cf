"""What any process of ours needs: progress, waiting, confinement, a private cache, Ray Data."""
