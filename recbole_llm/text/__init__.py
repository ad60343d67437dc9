"""Words to vectors: item texts, encoders, the vector cache, whitening."""
