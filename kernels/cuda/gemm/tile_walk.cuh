// Which tile of which group a persistent block computes next.
#pragma once

#include <cstdint>
#include <type_traits>

namespace troupe::kernels::cuda {

/// Where the groups' rows are; without arrays each of them has all rows.
struct RowGroups {
  const int32_t* begin;
  const int32_t* end;
  int count;
  int rows;
};

/// The same in a kernel's parameters, for the host knows where they are. `begin` has one more than
/// groups; null: each of them has all rows.
struct ParameterGroups {
  const int32_t* begin;
  int count;
  int rows;
};

struct TilePlace {
  int group;
  int row_end;  ///< of the group
  int row;      ///< first row of the tile; may lie beyond row_end
  int col;      ///< first column of the tile; may lie beyond the matrix
};

/// Clusters take units of tiles (kTall x kWide of them) in turn: units go down a band, then one to
/// the right, so that what runs at a time shares rows and columns in L2. Whole warps walk.
template <int kRows, int kCols, int kTall, int kWide, bool kListed, typename Groups = RowGroups>
class TileWalk {
 public:
  __device__ TileWalk(const Groups& groups, int cols, int cluster, int clusters)
      : groups_(groups),
        across_((cols + kCols * kWide - 1) / (kCols * kWide)),
        unit_(cluster),
        step_(clusters) {
    enter_group();
  }

  /// False when no unit is left. `rank` is the block's place in its cluster.
  __device__ bool next(int rank, TilePlace& place) {
    while (unit_ - first_ >= down_ * across_) {
      first_ += down_ * across_;
      if (++group_ >= groups_.count) return false;
      enter_group();
    }
    const int local = unit_ - first_;
    const int band = local / (kBandUnits * across_);
    const int in_band = local - band * kBandUnits * across_;
    const int height = min(kBandUnits, down_ - band * kBandUnits);
    const int x = in_band / height, y = band * kBandUnits + in_band - x * height;
    place = {group_, end_, begin_ + (y * kTall + (kTall > 1 ? rank : 0)) * kRows,
             (x * kWide + (kWide > 1 ? rank : 0)) * kCols};
    unit_ += step_;
    return true;
  }

 private:
  static constexpr int kBandUnits = 16 / kTall;

  // What lane 0 read: so that the compiler knows it to be the same in all of them.
  __device__ static int read(const int32_t* place) { return __shfl_sync(~0u, __ldg(place), 0); }
  __device__ void enter_group() {
    if constexpr (!kListed) {
      begin_ = 0;
      end_ = groups_.rows;
    } else if constexpr (std::is_same_v<Groups, ParameterGroups>) {
      begin_ = groups_.begin[group_];
      end_ = groups_.begin[group_ + 1];
    } else {
      begin_ = read(groups_.begin + group_);
      end_ = read(groups_.end + group_);
    }
    down_ = (end_ - begin_ + kRows * kTall - 1) / (kRows * kTall);
  }

  Groups groups_;
  int across_, unit_, step_;
  int group_ = 0, first_ = 0, begin_ = 0, end_ = 0, down_ = 0;
};

}  // namespace troupe::kernels::cuda
